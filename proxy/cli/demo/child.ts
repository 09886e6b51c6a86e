import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { asObject, parseObject, type JsonObject } from '../json-object.ts';

/** Variables of a child process, all of them. */
type Environment = Readonly<Record<string, string | undefined>>;

/** A sidecar in a process of its own. */
export interface SidecarProcess {
  readonly pid: number;
  readonly addresses: { readonly outbound: string; readonly metrics: string };
  /** The end of its log. */
  readonly log: () => string;
  /** Ends it by its pid: politely, and after a while not. */
  stop(): Promise<void>;
}

/** Far above what each takes; a demo that hangs is worse than one that fails. */
const readyWithinMs = 10_000;
const stopWithinMs = 5000;
const agentWithinMs = 10_000;
const keptLogLength = 4000;
/** The programs that the demo starts. Where this file was emitted as JavaScript, so were they. */
const programs = {
  main: new URL('../../main.ts', import.meta.url),
  agent: new URL('../../embedded/demo-agent.ts', import.meta.url),
  intruder: new URL('../../embedded/demo-intruder.ts', import.meta.url),
};
/** Those of launch.js, which is passed by: a child of a child would not hear when the demo is killed. */
const nodeOptions = ['--disable-sigusr1', '--disable-warning=ExperimentalWarning'];

/** Runs `waybill run --config FILE` and waits until it is ready. Rejects with the end of its log where it does not get there. */
export async function startSidecar(configFile: string, env: Environment): Promise<SidecarProcess> {
  // By its own command line, as everybody starts it: what the demo shows is the program that people run.
  const child = spawn(process.execPath, [...nodeOptions, fileOf('main'), 'run', '--config', configFile], {
    // The fourth is its lifeline: should this process be killed, it goes too.
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    env: { ...env, WAYBILL_LIFELINE_FD: '3' },
  });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()).once('error', () => resolve()));
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    const patience = new AbortController();
    await Promise.race([ended, sleep(stopWithinMs, undefined, { signal: patience.signal }).catch(() => undefined)]);
    patience.abort();
    child.kill('SIGKILL');
    await ended;
  };
  let log = '';
  const addresses = new Promise<SidecarProcess['addresses']>((resolve, reject) => {
    const failed = (why: string): void => reject(new Error(`the sidecar ${why}:\n${log.trimEnd()}`));
    const timer = setTimeout(() => failed(`is not ready after ${readyWithinMs / 1000} s`), readyWithinMs);
    child.once('close', () => {
      clearTimeout(timer);
      failed('ended');
    });
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      // Bounded: a sidecar that complains without end must not fill the memory of the demo.
      log = (log + chunk).slice(-keptLogLength);
      const found = log
        .split('\n')
        .map(readReady)
        .find((line) => line !== undefined);
      if (found === undefined) return;
      clearTimeout(timer);
      resolve(found);
    });
  });
  try {
    return { pid: child.pid ?? 0, addresses: await addresses, log: () => log, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The addresses in the log line `ready`; undefined for any other. */
function readReady(line: string): SidecarProcess['addresses'] | undefined {
  if (!line.includes('"msg":"ready"')) return undefined;
  const { outbound, metrics } = asObject(parseObject(line)?.['addresses']);
  return typeof outbound === 'string' && typeof metrics === 'string' ? { outbound, metrics } : undefined;
}

/** What a program of the demo prints: the answer that it got, or why it got none. */
export interface AgentResult {
  readonly status: number | undefined;
  readonly body: JsonObject;
  readonly failed: string | undefined;
  /** All that it printed. */
  readonly text: string;
}

/** Runs one of the two small programs of `embedded/` with exactly this environment. */
export async function runProgram(name: 'agent' | 'intruder', url: string, env: Environment): Promise<AgentResult> {
  const child = spawn(process.execPath, [...nodeOptions, fileOf(name), url], {
    // Not one variable of ours: what leads the agent through the sidecar is to be seen in the call of this function.
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...env },
    timeout: agentWithinMs,
  });
  let text = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (errors += chunk));
  await once(child, 'close');
  const printed = parseObject(text);
  if (printed === undefined) {
    throw new Error(`the agent ended without an answer:\n${errors.slice(-keptLogLength).trimEnd()}`);
  }
  const { status, failed } = printed;
  return {
    status: typeof status === 'number' ? status : undefined,
    failed: typeof failed === 'string' ? failed : undefined,
    body: asObject(printed['body']),
    text,
  };
}

/** Path of a program in the form that Node.js can run here. */
function fileOf(name: keyof typeof programs): string {
  const file = fileURLToPath(programs[name]);
  return import.meta.filename.endsWith('.ts') ? file : file.replace(/\.ts$/, '.js');
}
