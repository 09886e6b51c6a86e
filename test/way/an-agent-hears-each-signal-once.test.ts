import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { killRemaining, launcher, Running } from '../stage/command-line.ts';

let folder: string;
let agent: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'waybill-signals-'));
  agent = join(folder, 'agent.mjs');
  writeFileSync(
    join(folder, 'waybill.yaml'),
    `version: 1
agent: { name: agent, owner: tests }
listen: { outbound: "127.0.0.1:0", metrics: "127.0.0.1:0", health: "127.0.0.1:0" }
operator: { socket: ${folder}/operator.sock }
ca: { dir: ${folder}/ca, publish: ${folder}/trust }
record: { file: ${folder}/events.jsonl }
`,
  );
  // Counts for a while after the first one, as an agent that tidies up.
  writeFileSync(
    agent,
    `const heard = [];
    const hear = (signal) => {
      if (heard.push(signal) === 1) setTimeout(() => { console.log('heard', heard.join('+')); process.exit(3); }, 500);
    };
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT']) process.on(signal, hear);
    setTimeout(() => undefined, 30_000);
    console.log('agent', 'up');`,
  );
});
afterEach(() => {
  killRemaining();
  rmSync(folder, { recursive: true });
});

test.for([
  ['Ctrl-C', '\u0003', 'SIGINT'],
  // Java and Go tell with it what they are at; whoever asks an agent for that loses neither it nor its tokens.
  ['Ctrl-\\', '\u001C', 'SIGQUIT'],
] as const)('%s in a terminal is one signal for the agent', async ([, typed, signal], context) => {
  const { status, stdout: version } = spawnSync('script', ['--version'], { encoding: 'utf8' });
  if (status !== 0 || !version.includes('util-linux')) context.skip('no script of util-linux, which gives a terminal');
  // Without exec, a shell that is in between is ended by the same Ctrl-C, and its end is what is told.
  const command = ['exec', process.execPath, launcher, 'run', '--', process.execPath, agent].join(' ');
  const terminal: ChildProcess = spawn('script', ['-qefc', command, '/dev/null'], { cwd: folder });
  let shown = '';
  terminal.stdout?.setEncoding('utf8').on('data', (chunk: string) => (shown += chunk));
  const ended = once(terminal, 'close');
  try {
    await eventually('the agent runs', () => shown.includes('agent up'));
    terminal.stdin?.write(typed);
    expect(await ended).toEqual([3, null]);
    expect(shown).toMatch(new RegExp(`heard ${signal}\r?$`, 'm'));
  } finally {
    terminal.kill('SIGKILL');
  }
});

test('without a terminal the sidecar hands SIGINT, SIGTERM, SIGHUP and SIGQUIT on, and closes in order', async () => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) {
    const running = new Running(process.execPath, [launcher, 'run', '--', process.execPath, agent], { cwd: folder });
    await eventually('the agent runs', () => running.stdout.includes('agent up'));
    running.child.kill(signal);
    const { code, stdout, stderr } = await running.finished;
    expect({ code, stdout }).toEqual({ code: 3, stdout: `agent up\nheard ${signal}\n` });
    expect(stderr).toMatch(/"msg":"stopped"\}\n$/);
    expect(existsSync(join(folder, 'operator.sock'))).toBe(false);
  }
});

test('a launcher that hands on what the terminal has sent already does not end the sidecar while it closes', async () => {
  for (const signal of ['SIGQUIT', 'SIGTERM'] as const) {
    const running = new Running(process.execPath, [launcher, 'run', '--', process.execPath, agent], { cwd: folder });
    const { addresses } = await running.ready();
    await eventually('the agent runs', () => running.stdout.includes('agent up'));
    // A request that never ends keeps it closing for a moment.
    const hanging = connect(Number(addresses['outbound']?.split(':')[1]), '127.0.0.1');
    hanging.on('error', () => undefined).write('GET ');
    await once(hanging, 'connect');
    running.child.kill(signal);
    await eventually('it closes', () => running.stderr.includes('"msg":"stopping"'));
    running.child.kill(signal);
    const { code, stderr } = await running.finished;
    expect(code).toBe(3);
    expect(stderr).toMatch(/"msg":"stopped"\}\n$/);
  }
});

test('a signal while the sidecar starts ends it, and no agent is started', async () => {
  for (const [signal, code] of [
    ['SIGTERM', 143],
    ['SIGHUP', 129],
    ['SIGQUIT', 131],
  ] as const) {
    // Sent by the process to itself as soon as it listens for it, long before it is ready.
    const early = join(folder, 'early.mjs');
    const send = `name === '${signal}' && setImmediate(() => process.kill(process.pid, name))`;
    writeFileSync(early, `process.on('newListener', (name) => ${send});`);
    const env = { ...process.env, NODE_OPTIONS: `--import=${early}` };
    const running = new Running(process.execPath, [launcher, 'run', '--', 'echo', 'agent up'], { cwd: folder, env });
    const ended = await running.finished;
    expect(ended).toMatchObject({ code, stdout: '' });
    expect(ended.stderr).toMatch(/"msg":"stopped"\}\n$/);
  }
});
