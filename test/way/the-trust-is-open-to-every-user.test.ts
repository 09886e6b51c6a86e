import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { killRemaining, launcher, Running } from '../stage/command-line.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'waybill-umask-'));
});
afterEach(() => {
  killRemaining();
  rmSync(folder, { recursive: true });
});

const modeOf = (path: string): string => (statSync(join(folder, path)).mode & 0o777).toString(8);

/** Starts and ends a sidecar, with this umask, that publishes in this folder. */
async function publish(umask: string, to: string, env: NodeJS.ProcessEnv = process.env): Promise<void> {
  const config = join(folder, 'waybill.yaml');
  writeFileSync(
    config,
    `version: 1
agent: { name: agent, owner: tests }
identity: none
listen: { outbound: "127.0.0.1:0", metrics: "127.0.0.1:0", health: "127.0.0.1:0" }
operator: { socket: ${folder}/own/operator.sock }
ca: { dir: ${folder}/own/ca, publish: ${folder}/${to} }
record: { file: ${folder}/own/events.jsonl }
`,
  );
  const command = [process.execPath, launcher, 'run', '--config', config];
  const running = new Running('sh', ['-c', `umask ${umask}; exec "$@"`, 'sh', ...command], { env });
  await running.ready();
  running.child.kill('SIGTERM');
  expect(await running.finished).toMatchObject({ code: 0 });
}

test.each(['022', '077', '007'])(
  'umask %s: whoever the agent is reads what is published, and nothing else',
  async (umask) => {
    await publish(umask, 'for/the agent/trust');
    const shown = ['for', 'for/the agent', 'for/the agent/trust'].map(modeOf);
    expect(shown).toEqual(['755', '755', '755']);
    expect(['ca.pem', 'bundle.pem'].map((name) => modeOf(`for/the agent/trust/${name}`))).toEqual(['644', '644']);
    expect(['own', 'own/ca', 'own/ca/ca.key', 'own/events.jsonl'].map(modeOf)).toEqual(['700', '700', '600', '600']);
  },
);

test('a folder that was there keeps its mode', async () => {
  mkdirSync(join(folder, 'given/trust'), { recursive: true });
  chmodSync(join(folder, 'given'), 0o710);
  chmodSync(join(folder, 'given/trust'), 0o750);
  await publish('077', 'given/trust');
  await publish('077', 'given/new');
  expect(['given', 'given/trust', 'given/trust/ca.pem', 'given/new'].map(modeOf)).toEqual(['710', '750', '644', '755']);
});

test('each authority stands once in the bundle, wherever the system has it, and a start in the shell of a task adds none', async () => {
  const certificates = (name: string): readonly string[] =>
    readFileSync(join(folder, 'trust', name), 'utf8').match(/-----BEGIN[^]*?-----END CERTIFICATE-----/g) ?? [];
  await publish('022', 'trust');
  const first = certificates('bundle.pem');
  expect(first.length).toBe(new Set(first).size);
  expect(first).toContain(certificates('ca.pem')[0]);
  // As `tasks open` and `run -- COMMAND` set it: Node.js takes the file for the roots of the system.
  await publish('022', 'trust', { ...process.env, SSL_CERT_FILE: join(folder, 'trust', 'bundle.pem') });
  expect(certificates('bundle.pem').toSorted()).toEqual(first.toSorted());
});
