import { spawnSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { killRemaining, launcher, Running, runWaybill, type Finished } from '../stage/command-line.ts';

let folder: string;
let ca: string;
const pairs = ['own', 'other'].map((name) => () => join(folder, name));

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'waybill-damaged-'));
  for (const pair of pairs) {
    const running = new Running(process.execPath, [launcher, 'run', '--config', configure({ dir: pair() })]);
    await running.ready();
    running.child.kill('SIGTERM');
    expect(await running.finished).toMatchObject({ code: 0 });
  }
});
beforeEach(() => {
  ca = mkdtempSync(join(folder, 'ca-'));
  for (const name of ['ca.key', 'ca.pem']) copyFileSync(join(pairs[0]!(), name), join(ca, name));
});
afterAll(() => {
  killRemaining();
  rmSync(folder, { recursive: true });
});

/** Resolves with the path of a configuration whose places are these. */
function configure({ dir = ca, record = join(folder, 'events.jsonl') }: { dir?: string; record?: string }): string {
  const file = join(folder, 'waybill.yaml');
  writeFileSync(
    file,
    `version: 1
agent: { name: agent, owner: tests }
identity: none
listen: { outbound: "127.0.0.1:0", metrics: "127.0.0.1:0", health: "127.0.0.1:0" }
operator: { socket: ${folder}/operator.sock, revocations: ${folder}/revocations.json }
ca: { dir: ${dir}, publish: ${folder}/trust }
record: { file: ${record} }
`,
  );
  return file;
}

/** Its last line, which is for people: all before it are of the log. */
const lastLine = ({ stderr }: Finished): string => stderr.trimEnd().split('\n').at(-1) ?? '';
const remedy = /restore both from a copy, or remove both: then they are made anew$/;

/** An EC key of another curve, or of another kind, in place of the right one. */
const keyOf = (kind: 'rsa' | 'ec'): string => {
  const { privateKey } =
    kind === 'rsa'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : generateKeyPairSync('ec', { namedCurve: 'secp384r1' });
  return privateKey.export({ type: 'pkcs8', format: 'pem' });
};
const damages: readonly (readonly [what: string, name: 'ca.key' | 'ca.pem', content: (before: string) => string])[] = [
  ['a key that was cut off', 'ca.key', (before) => before.slice(0, 100)],
  ['an empty key', 'ca.key', () => ''],
  ['a key of noise', 'ca.key', () => '\u0000\u00ff\u0001 noise\n'],
  ['a key of RSA', 'ca.key', () => keyOf('rsa')],
  ['a key of another curve', 'ca.key', () => keyOf('ec')],
  ['an empty certificate', 'ca.pem', () => ''],
  ['a certificate that was cut off', 'ca.pem', (before) => before.slice(0, 300)],
  ['a certificate of noise', 'ca.pem', () => 'noise\n'],
];

test.each(damages)('%s is told with the name of its file, and is left there', async (_what, name, content) => {
  const file = join(ca, name);
  const damaged = content(readFileSync(file, 'utf8'));
  writeFileSync(file, damaged);
  const finished = await runWaybill(['run', '--config', configure({})]);
  expect(finished.code, finished.stderr).toBe(64);
  expect(lastLine(finished)).toContain(`waybill run: the sidecar cannot start: ${file} `);
  expect(lastLine(finished)).toMatch(remedy);
  expect(finished.stderr).not.toMatch(/PRIVATE KEY|\n\s+at /);
  expect(readFileSync(file, 'utf8')).toBe(damaged);
});

test.each(['ca.key', 'ca.pem'])('%s of another pair is told', async (name) => {
  copyFileSync(join(pairs[1]!(), name), join(ca, name));
  const finished = await runWaybill(['run', '--config', configure({})]);
  expect(finished.code, finished.stderr).toBe(64);
  expect(lastLine(finished)).toContain(join(ca, 'ca.key'));
  expect(lastLine(finished)).toContain(join(ca, 'ca.pem'));
  expect(lastLine(finished)).toMatch(remedy);
});

test('a path that is too long, or goes in a circle, is told', async () => {
  symlinkSync('circle', join(folder, 'circle'));
  const long = join(folder, 'n'.repeat(300));
  for (const [places, word, path] of [
    [{ dir: long }, 'ENAMETOOLONG', long],
    [{ record: long }, 'ENAMETOOLONG', long],
    [{ dir: join(folder, 'circle') }, 'ELOOP', join(folder, 'circle')],
    [{ record: join(folder, 'circle/events.jsonl') }, 'ELOOP', join(folder, 'circle')],
  ] as const) {
    const finished = await runWaybill(['run', '--config', configure(places)]);
    expect(finished.code, finished.stderr).toBe(64);
    expect(lastLine(finished)).toContain(`waybill run: the sidecar cannot start: ${word}: `);
    expect(lastLine(finished)).toContain(path);
  }
});

/** From util-linux. */
const program = 'unshare';
const apart = ['--map-root-user', '--mount'];
const mayMount = spawnSync(program, [...apart, 'mount', '-t', 'tmpfs', 'none', tmpdir()]).status === 0;

test.runIf(mayMount)('a full disk under the authority is told, with its file, and keeps no part of one', async () => {
  const dir = join(folder, 'full');
  mkdirSync(dir);
  // One page, which is taken, or left for the key.
  for (const [filled, name] of [
    [4096, 'ca.key'],
    [0, 'ca.pem'],
  ] as const) {
    const script = `mount -t tmpfs -o size=4096 none "$1" && head -c ${filled} /dev/zero >"$1/filler" && shift && "$@"; code=$?; ls "${dir}"; exit $code`;
    const command = [process.execPath, launcher, 'run', '--config', configure({ dir })];
    const finished = await new Running(program, [...apart, 'sh', '-c', script, 'sh', dir, ...command]).finished;
    expect(finished.code, finished.stderr).toBe(69);
    expect(lastLine(finished)).toContain('ENOSPC');
    expect(lastLine(finished)).toContain(join(dir, name));
    expect(lastLine(finished)).toMatch(/make room there/);
    expect(finished.stdout).not.toContain('.new');
  }
  expect(readdirSync(dir)).toEqual([]);
});
