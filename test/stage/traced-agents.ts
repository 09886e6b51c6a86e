import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { isThere, run } from '../real/programs.ts';

const sources = join(import.meta.dirname, '..', 'real', 'opentelemetry');
const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'waybill-real');
const installMs = 300_000;

/** From npm. */
const nodePackages = [
  '@opentelemetry/api@1.10.0',
  '@opentelemetry/sdk-node@0.301.0',
  '@opentelemetry/instrumentation-http@0.301.0',
  '@opentelemetry/instrumentation-undici@0.34.0',
];
/** From PyPI. */
const pythonPackages = [
  'flask==3.1.3',
  'werkzeug==3.1.9',
  'requests==2.34.2',
  'opentelemetry-api==1.45.1',
  'opentelemetry-sdk==1.45.1',
  ...['distro', 'instrumentation', 'semantic-conventions'].map((name) => `opentelemetry-${name}==0.66b1`),
  ...['flask', 'wsgi', 'requests', 'threading'].map((name) => `opentelemetry-instrumentation-${name}==0.66b1`),
];

/** How an agent is started: program, arguments, and what its environment needs beside that of every agent. */
export interface TracedAgent {
  readonly program: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** An agent, or why there is none (for `context.skip`). */
export type FoundAgent = TracedAgent | { readonly missing: string };

/** The agent for Node.js, with OpenTelemetry as its documentation says; installs what it needs and says so. */
export async function findNodeAgent(): Promise<FoundAgent> {
  const folder = join(cache, 'opentelemetry-node-0.301.0');
  const modules = join(folder, 'node_modules');
  const agent = {
    program: process.execPath,
    args: ['--require', join(sources, 'instrument.cjs'), join(sources, 'node-agent.cjs')],
    // Where the code of the agent stands there is no OpenTelemetry: it comes from outside.
    env: { NODE_PATH: modules },
  };
  const hasAll = async (): Promise<boolean> => {
    const names = nodePackages.map((text) => text.slice(0, text.lastIndexOf('@')));
    const wanted = names.map((name) => `require(${JSON.stringify(join(modules, name))})`).join(';');
    return isThere(process.execPath, '-e', wanted);
  };
  if (await hasAll()) return agent;
  console.log(`installs from npm: ${nodePackages.join(' ')}`);
  mkdirSync(folder, { recursive: true });
  const options = ['--prefix', folder, '--no-audit', '--no-fund', '--no-save', '--ignore-scripts'];
  const npm = await run('npm', ['install', ...options, ...nodePackages], { timeoutMs: installMs });
  return (await hasAll()) ? agent : { missing: `npm has no OpenTelemetry for Node.js: ${npm.stderr.slice(-300)}` };
}

/** The agent for Python, started by `opentelemetry-instrument`; installs what it needs and says so. */
export async function findPythonAgent(): Promise<FoundAgent> {
  const folder = join(cache, 'opentelemetry-python-1.45.1');
  const python = join(folder, 'bin', 'python');
  const agent = {
    program: join(folder, 'bin', 'opentelemetry-instrument'),
    args: [python, join(sources, 'python_agent.py')],
    env: { OTEL_TRACES_EXPORTER: 'none', OTEL_METRICS_EXPORTER: 'none', OTEL_LOGS_EXPORTER: 'none' },
  };
  const hasAll = (): Promise<boolean> =>
    isThere(python, '-c', 'from opentelemetry.instrumentation import flask, wsgi, requests, threading, distro');
  if (await hasAll()) return agent;
  console.log(`installs from PyPI: ${pythonPackages.join(' ')}`);
  mkdirSync(cache, { recursive: true });
  const venv = await run('python3', ['-m', 'venv', folder], { timeoutMs: installMs });
  if (venv.status !== 0) return { missing: `no venv of Python: ${venv.stderr.slice(-300)}` };
  const pip = await run(python, ['-m', 'pip', 'install', '--quiet', ...pythonPackages], { timeoutMs: installMs });
  return (await hasAll()) ? agent : { missing: `PyPI has no OpenTelemetry for Python: ${pip.stderr.slice(-300)}` };
}

/** A running agent. */
export interface RunningAgent {
  /** What it answers at a path of its own, beside the sidecar. */
  ask(path: string): Promise<string>;
  /** SIGKILL: it has nothing to put in order. */
  stop(): Promise<void>;
}

/** Starts one and waits until it answers. @param env with `PORT`, where it listens on loopback. */
export async function startAgent(
  agent: TracedAgent,
  env: Readonly<Record<string, string>> & { readonly PORT: string },
): Promise<RunningAgent> {
  const child = spawn(agent.program, agent.args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: process.env['PATH'], HOME: homedir(), LANG: 'C.UTF-8', ...agent.env, ...env },
  });
  let printed = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (printed = (printed + text).slice(-5000)));
  const ended = new Promise<void>((done) => child.once('error', () => done()).once('exit', () => done()));
  const ask = async (path: string): Promise<string> => (await fetch(`http://127.0.0.1:${env.PORT}${path}`)).text();
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  const limit = performance.now() + 60_000;
  while (!(await ask('/ready').then(Boolean, () => false))) {
    if (performance.now() > limit || child.exitCode !== null) {
      await stop();
      throw new Error(`the agent does not get ready: ${printed}`);
    }
    await new Promise((done) => setTimeout(done, 100));
  }
  return { ask, stop };
}
