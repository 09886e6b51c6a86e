import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { killRemaining, runWaybill } from '../stage/command-line.ts';

// Root's folders are those of the system.
const nobody = 65_534;
const isRoot = process.getuid?.() === 0;
let top: string;
let server: Server;
const heard: string[] = [];

beforeAll(async () => {
  top = mkdtempSync(join(tmpdir(), 'w-'));
  chmodSync(top, 0o755);
  const folder = join(top, `waybill-${isRoot ? nobody : (process.getuid?.() ?? 0)}`);
  mkdirSync(folder);
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

test.for([
  ['tasks', 'open', '--subject-token-file', 'TOKEN'],
  ['tasks', 'list'],
  ['revoke', '--all', '--reason', 'test'],
  ['inventory'],
])('a socket that another user may have put there is asked nothing: %s', async (args) => {
  const named = args.map((arg) => (arg === 'TOKEN' ? join(top, 'token') : arg));
  const { code, stderr } = await runWaybill(named, {
    env: { PATH: process.env['PATH'] ?? '', TMPDIR: top },
    cwd: top,
    ...(isRoot ? { uid: nobody, gid: nobody } : {}),
  });
  expect([code, heard]).toEqual([69, []]);
  expect(stderr).toMatch(/can be written by, another user/);
});
