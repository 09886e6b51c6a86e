import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { killRemaining, runWaybill, type CommandOptions } from '../stage/command-line.ts';

// Root's folders are those of the system.
const nobody = 65_534;
const isRoot = process.getuid?.() === 0;
let top: string;
let folder: string;
let server: Server;
const heard: string[] = [];

beforeAll(async () => {
  top = mkdtempSync(join(tmpdir(), 'w-'));
  chmodSync(top, 0o755);
  folder = join(top, `waybill-${isRoot ? nobody : (process.getuid?.() ?? 0)}`);
  mkdirSync(join(folder, 'trust'), { recursive: true });
  mkdirSync(join(folder, 'state'));
  writeFileSync(join(folder, 'trust', 'ca.pem'), 'of somebody else');
  writeFileSync(join(folder, 'state', 'events.jsonl'), '');
  chmodSync(folder, 0o777);
  writeFileSync(join(top, 'token'), 'eyJ.a.b', { mode: 0o644 });
  server = createServer((request, response) => {
    heard.push(request.url ?? '');
    response.end('{}');
  });
  server.listen(join(folder, 'operator.sock'));
  await once(server, 'listening');
  chmodSync(join(folder, 'operator.sock'), 0o777);
});
afterAll(() => {
  killRemaining();
  server.close();
  rmSync(top, { recursive: true, force: true });
});

/** As a user without a run folder and without a home. */
const options = (): CommandOptions => ({
  env: { PATH: process.env['PATH'] ?? '', TMPDIR: top },
  cwd: top,
  ...(isRoot ? { uid: nobody, gid: nobody } : {}),
});

test.for([
  ['tasks', 'open', '--subject-token-file', 'TOKEN'],
  ['tasks', 'list'],
  ['revoke', '--all', '--reason', 'test'],
  ['inventory'],
  ['tasks', 'list', '--socket', 'SOCKET'],
])('a socket that another user may have put there is asked nothing: %s', async (args) => {
  const files = new Map([
    ['TOKEN', join(top, 'token')],
    ['SOCKET', join(folder, 'operator.sock')],
  ]);
  const named = args.map((arg) => files.get(arg) ?? arg);
  const { code, stderr } = await runWaybill(named, options());
  expect([code, heard]).toEqual([69, []]);
  expect(stderr).toMatch(/can be written by, another user/);
});

test('nor by the doctor; and a record that lies there is not called whole', async () => {
  const config = join(top, 'waybill.yaml');
  writeFileSync(config, 'version: 1\nagent: { name: bot, purpose: test }\nidentity: none\n', { mode: 0o644 });
  const { stdout } = await runWaybill(['doctor', '--config', config, '--json'], options());
  const { findings } = JSON.parse(stdout) as { findings: { check: string; message: string }[] };
  expect(findings.find(({ check }) => check === 'sidecar')?.message).toMatch(/^none answers: .*another user/);
  const verified = await runWaybill(['events', 'verify', '--config', config], options());
  expect([verified.code, verified.stderr]).toEqual([69, expect.stringMatching(/another user/)]);
  expect(heard).toEqual([]);
});

test('of a sidecar that is named, the CA that lies there is not taken into the shell', async () => {
  // Who owns the place that is named is meant; who wrote into the default folder is not.
  const ours = join(top, 'ours.sock');
  const sidecar = createServer((request, response) => {
    request.resume();
    response.writeHead(201);
    response.end(JSON.stringify({ txn: 't', proxy: 'http://task:h@127.0.0.1:1', subject: {}, tools: [] }));
  }).listen(ours);
  await once(sidecar, 'listening');
  chmodSync(ours, 0o777);
  const args = ['tasks', 'open', '--subject-token-file', join(top, 'token'), '--socket', ours];
  const { code, stdout, stderr } = await runWaybill(args, options());
  sidecar.close();
  expect([code, stdout]).toEqual([0, expect.stringContaining('HTTP_PROXY=http://task:h@127.0.0.1:1')]);
  expect(stdout).not.toContain(folder);
  expect(stderr).toMatch(/another user.*calls to https tools will not trust it/);
});

test('and an answer without counts is not taken as a revocation, or as the end of a task', async () => {
  const strange = join(top, 'strange.sock');
  const stranger = createServer((_request, response) => response.end('{"ok":true}')).listen(strange);
  await once(stranger, 'listening');
  chmodSync(strange, 0o777);
  for (const args of [
    ['revoke', '--all', '--reason', 'test'],
    ['revoke', '--all', '--reason', 'test', '--json'],
    ['tasks', 'complete', 'txn'],
  ]) {
    const { code, stdout, stderr } = await runWaybill([...args, '--socket', strange], options());
    expect([code, stdout, stderr]).toEqual([70, '', expect.stringContaining('is no sidecar')]);
  }
  stranger.close();
});
