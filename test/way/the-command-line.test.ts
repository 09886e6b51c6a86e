import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { killRemaining, launcher, Running, runWaybill, type Finished } from '../stage/command-line.ts';

let folder: string;
let config: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'waybill-cli-'));
  config = join(folder, 'waybill.yaml');
});
afterEach(() => {
  killRemaining();
  rmSync(folder, { recursive: true });
});

/** A configuration with its places in the test's folder, and more sections. */
function write(more: string = '', outbound = '127.0.0.1:0'): void {
  writeFileSync(
    config,
    `version: 1
agent: { name: agent, owner: tests }
listen: { outbound: "${outbound}", metrics: "127.0.0.1:0", health: "127.0.0.1:0" }
operator: { socket: ${folder}/operator.sock }
ca: { dir: ${folder}/ca, publish: ${folder}/trust }
record: { file: ${folder}/events.jsonl }
${more}`,
  );
}

const broken = `version: 1
agent: { nme: agent }
tools:
  crm:
    match: { host: crm.example.org }
    token: { from: nobody, audience: crm }
rules:
  - { name: one, effect: allow, when: 'call.tol == "crm"' }
  - { name: two, effect: allow, when: 'task.purpose ==' }
`;

const run = (...args: string[]): Promise<Finished> => runWaybill(args, { cwd: folder });
const json = ({ stdout }: Finished): Record<string, unknown> => JSON.parse(stdout) as Record<string, unknown>;

test('an unknown command, or none, gets the usage on standard error and exit code 64', async () => {
  for (const args of [[], ['demonstrate'], ['runn'], ['--verbose']]) {
    const { code, stdout, stderr } = await run(...args);
    expect({ code, stdout }, args.join(' ')).toEqual({ code: 64, stdout: '' });
    expect(stderr).toMatch(/^Usage: waybill COMMAND/m);
  }
  expect((await run('vaildate')).stderr).toContain('did you mean `validate`?');
});

test('--help explains the program and each command, --version says which it is', async () => {
  const overview = await run('--help');
  expect(overview).toMatchObject({ code: 0, stderr: '' });
  const commands = [...overview.stdout.matchAll(/^ {2}([a-z]+) {2,}/gm)].map(([, name = '']) => name);
  expect(commands).toEqual(['demo', 'run', 'validate', 'doctor', 'tasks', 'revoke', 'inventory', 'events', 'health']);
  for (const command of commands) {
    const help = await run(command, '--help');
    expect(help, command).toMatchObject({ code: 0, stderr: '' });
    expect(help.stdout).toMatch(new RegExp(`^Usage: waybill ${command}[\\s\\S]*^Exit code|[Ee]xit code`, 'm'));
  }
  expect((await run('help', 'events')).stdout).toMatch(/^Usage: waybill events/);
  expect(await run('help', 'task')).toMatchObject({ code: 64, stdout: '', stderr: expect.stringContaining('tasks') });
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  expect(await run('--version')).toMatchObject({ code: 0, stdout: `${version}\n`, stderr: '' });
});

test('wrong options are usage errors, in one sentence', async () => {
  for (const args of [
    ['run', '--confg', 'x'],
    ['run', '--'],
    ['tasks'],
    ['tasks', 'open'],
    ['tasks', 'open', '--subject-token-file', 'nowhere'],
    ['tasks', 'complete'],
    ['tasks', 'list', '--url', 'http://127.0.0.1:1'],
    ['events', 'verify', 'nowhere.jsonl'],
    ['demo', '--fast'],
  ]) {
    const { code, stdout, stderr } = await run(...args);
    expect({ code, stdout }, args.join(' ')).toEqual({ code: 64, stdout: '' });
    expect(stderr, args.join(' ')).toMatch(/^waybill [a-z]+: [^\n]+\n$/);
  }
});

test('run shows every error of a configuration like a compiler, exits 64 and has opened nothing', async () => {
  writeFileSync(config, `${broken}operator: { socket: ${folder}/operator.sock }\nrecord: { file: ${folder}/events }\n`);
  const { code, stdout, stderr } = await run('run');
  expect({ code, stdout }).toEqual({ code: 64, stdout: '' });
  const places = stderr
    .trimEnd()
    .split('\n')
    .map((line) => /^waybill\.yaml:(\d+):\d+: /.exec(line)?.[1]);
  // Faults of form, of meaning and of the rules, all at once.
  expect(places).toEqual(['2', '2', '6', '8', '9']);
  expect(existsSync(join(folder, 'operator.sock'))).toBe(false);
  expect(existsSync(join(folder, 'events'))).toBe(false);
  expect((await run('run', '--config', 'missing.yaml')).stderr).toBe(
    'missing.yaml:1:1: cannot be read: there is no such file\n',
  );
});

test('validate tells the same errors, as text and as JSON', async () => {
  writeFileSync(config, broken);
  const shown = await run('validate');
  expect(shown).toMatchObject({ code: 64, stdout: '' });
  expect(shown.stderr).toMatch(/^waybill\.yaml:8:\d+: rules\[0\]\.when: .*tol/m);
  expect(shown.stderr).toMatch(/5 errors\n$/);
  const told = await run('validate', '--json');
  expect(told).toMatchObject({ code: 64, stderr: '' });
  expect(json(told)).toMatchObject({ ok: false, file: 'waybill.yaml' });
  expect(json(told)['errors']).toHaveLength(5);
});

test('validate of a good configuration names its parts, warnings and what is unsafe, and opens nothing', async () => {
  write(`tools:
  api: { match: { host: api.example.org }, risk: deploy, unsafe_raw_paths: true }
rules: [ { name: all, effect: allow, when: 'call.tool == "apy"' } ]
`);
  const told = await run('validate', '--json', '--config', config);
  expect(told).toMatchObject({ code: 0, stderr: '' });
  expect(json(told)).toMatchObject({
    ok: true,
    file: config,
    errors: [],
    unsafe: ['tools.api.unsafe_raw_paths'],
    tools: [{ name: 'api', host: 'api.example.org', risk: 'deploy' }],
    rules: [{ name: 'all', effect: 'allow', mode: 'enforce' }],
  });
  expect(json(told)['warnings']).toEqual([expect.stringMatching(/^9:\d+: rules\[0\]\.when: .*apy/)]);
  const shown = await run('validate');
  expect(shown).toMatchObject({ code: 0, stderr: '' });
  expect(shown.stdout).toContain('unsafe: tools.api.unsafe_raw_paths');
  expect(existsSync(join(folder, 'events.jsonl'))).toBe(false);
});

test('run is one process that stops at SIGTERM and SIGINT with exit code 0, its log on standard error', async () => {
  write();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const running = new Running(process.execPath, [launcher, 'run', '--config', config]);
    const { pid, addresses } = await running.ready();
    expect(pid).toBe(running.child.pid);
    // A request that never ends keeps it closing for a moment: time for the signal that a launcher sends as well.
    const hanging = connect(Number(addresses['outbound']?.split(':')[1]), '127.0.0.1');
    hanging.on('error', () => undefined).write('GET ');
    await once(hanging, 'connect');
    running.child.kill(signal);
    await eventually('it stops', () => running.stderr.includes('"msg":"stopping"'));
    running.child.kill(signal);
    const { code, stdout, stderr } = await running.finished;
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' });
    for (const line of stderr.trimEnd().split('\n')) expect(JSON.parse(line)).toHaveProperty('level');
    expect(existsSync(join(folder, 'operator.sock'))).toBe(false);
  }
  expect((await run('events', 'verify')).stdout).toMatch(/2 boots: whole/);
});

test('run says which address is taken and exits 69; what it cannot write to is exit code 64', async () => {
  const taken: Server = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const address = taken.address();
  const port = typeof address === 'object' ? address?.port : 0;
  write('', `127.0.0.1:${port}`);
  const first = await run('run');
  taken.close();
  expect(first.code).toBe(69);
  expect(first.stderr).toContain(`127.0.0.1:${port}`);
  write();
  writeFileSync(config, readFileSync(config, 'utf8').replace('events.jsonl', 'waybill.yaml/events.jsonl'));
  const second = await run('run');
  expect(second.code).toBe(64);
  expect(second.stderr).toContain('waybill.yaml');
});

test('run says that another sidecar has its socket, and exits 69', async () => {
  write();
  await new Running(process.execPath, [launcher, 'run', '--config', config]).ready();
  const second = await run('run');
  expect(second).toMatchObject({ code: 69 });
  expect(second.stderr).toMatch(/an address is taken \(another process listens on .*operator\.sock\)/);
});

test('a fault that nobody caught ends the sidecar with exit code 70, and its message is not logged', async () => {
  write();
  for (const fault of ['throw new Error("s3cr3t")', 'Promise.reject(new Error("s3cr3t"))']) {
    const file = join(folder, 'fault.mjs');
    writeFileSync(file, `process.on('SIGUSR2', () => { ${fault}; });`);
    const env = { ...process.env, NODE_OPTIONS: `--import=${file}` };
    const running = new Running(process.execPath, [launcher, 'run', '--config', config], { env });
    await running.ready();
    running.child.kill('SIGUSR2');
    const { code, stdout, stderr } = await running.finished;
    expect({ code, stdout }).toEqual({ code: 70, stdout: '' });
    expect(stderr).toMatch(/"level":60[^\n]*"msg":"fault"\}\n$/);
    expect(stderr).not.toContain('s3cr3t');
  }
});

test('run -- COMMAND gives it proxy and trust, takes its exit code and ends with it', async () => {
  write();
  const script = 'echo "$HTTPS_PROXY $NODE_USE_ENV_PROXY [$NO_PROXY]"; grep -c BEGIN "$NODE_EXTRA_CA_CERTS"; exit 7';
  const { code, stdout } = await run('run', '--', 'sh', '-c', script);
  expect(code).toBe(7);
  expect(stdout).toMatch(/^http:\/\/127\.0\.0\.1:\d+ 1 \[\]\n1\n$/);
  expect(await run('run', '--', 'no-such-program')).toMatchObject({ code: 64 });
  const running = new Running(process.execPath, [launcher, 'run', '--', 'sh', '-c', 'echo up; exec sleep 30'], {
    cwd: folder,
  });
  await eventually('the command runs', () => running.stdout.includes('up'));
  running.child.kill('SIGTERM');
  expect((await running.finished).code).toBe(128 + 15);
});

test('events verify exits 1 on a broken chain and says where', async () => {
  write();
  for (let boot = 0; boot < 2; boot++) await run('run', '--', 'true');
  const record = join(folder, 'events.jsonl');
  expect(await run('events', 'verify', record)).toMatchObject({ code: 0, stderr: '' });
  const text = readFileSync(record, 'utf8');
  writeFileSync(record, text.replace('"version":"', '"version":"9'));
  const lines = text.trimEnd().split('\n').length;
  if (lines === 2) writeFileSync(record, readFileSync(record, 'utf8').replace('"seq":1,', '"seq":2,'));
  const shown = await run('events', 'verify', record);
  expect(shown).toMatchObject({ code: 1, stderr: '' });
  expect(shown.stdout).toMatch(/^[^\n]*events\.jsonl:1: /);
  const told = await run('events', 'verify', record, '--json');
  expect(told.code).toBe(1);
  expect(json(told)).toMatchObject({ ok: false, lines, errors: [{ line: 1 }], outcome_unknown: 0 });
});

test('tasks without a sidecar exit 69 and say what to do', async () => {
  write();
  const { code, stdout, stderr } = await run('tasks', 'list');
  expect({ code, stdout }).toEqual({ code: 69, stdout: '' });
  expect(stderr).toMatch(/no sidecar answers at .*operator\.sock .*waybill run/);
  const elsewhere = await run('tasks', 'list', '--socket', join(folder, 'other.sock'));
  expect(elsewhere).toMatchObject({ code: 69 });
  expect(elsewhere.stderr).toContain('other.sock');
});
