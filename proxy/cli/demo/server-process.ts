import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { asObject, parseObject } from '../json-object.ts';

/** Variables of a child process, all of them. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** A server in a process of its own. */
interface ServerProcess {
  readonly pid: number;
  /** The end of its log. */
  readonly log: () => string;
  /** Ends it by its pid: politely, and after a while not. */
  stop(): Promise<void>;
}

/** A sidecar in a process of its own. Addresses are `host:port`. */
export interface SidecarProcess extends ServerProcess {
  readonly addresses: { readonly outbound: string; readonly metrics: string; readonly inbound: string | undefined };
}

/** An agent that is called, in a process of its own. */
export interface AgentProcess extends ServerProcess {
  readonly port: number;
}

/** Far above what each takes, also where several start at once on a busy machine; a demo that hangs is worse than one that fails. */
const readyWithinMs = 60_000;
const stopWithinMs = 5000;
export const keptLogLength = 4000;
/** Those of launch.js, which is passed by: a child of a child would not hear when the demo is killed. */
export const nodeOptions = ['--disable-sigusr1', '--disable-warning=ExperimentalWarning'];

const main = new URL('../../main.ts', import.meta.url);
const agentServer = new URL('../../embedded/demo-agent-server.ts', import.meta.url);

/** Runs `waybill run --config FILE` and waits until it is ready. Rejects with the end of its log where it does not get there. */
export async function startSidecar(configFile: string, env: Environment): Promise<SidecarProcess> {
  // By its own command line, as everybody starts it: what the demo shows is the program that people run.
  const args = [programFile(main), 'run', '--config', configFile];
  const { ready: addresses, ...server } = await start(
    'the sidecar',
    args,
    { ...env, WAYBILL_LIFELINE_FD: '3' },
    readReady,
  );
  return { ...server, addresses };
}

/** Runs an agent that calls `next` for whoever calls it, and waits until it listens. */
export async function startAgentServer(next: string, env: Environment): Promise<AgentProcess> {
  const { ready: port, ...server } = await start('the agent', [programFile(agentServer), next], env, readPort);
  return { ...server, port };
}

/** Path of a program in the form that Node.js can run here. Where this file was emitted as JavaScript, so were the others. */
export function programFile(program: URL): string {
  const file = fileURLToPath(program);
  return import.meta.filename.endsWith('.ts') ? file : file.replace(/\.ts$/, '.js');
}

/** Starts a server and waits for the line of its standard error that says where it listens. */
async function start<Ready>(
  name: string,
  args: readonly string[],
  env: Environment,
  read: (line: string) => Ready | undefined,
): Promise<ServerProcess & { readonly ready: Ready }> {
  const child = spawn(process.execPath, [...nodeOptions, ...args], {
    // The first and the fourth are lifelines: should this process be killed, they close, and the child goes too.
    stdio: ['pipe', 'ignore', 'pipe', 'pipe'],
    env: { ...env },
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
  const ready = new Promise<Ready>((resolve, reject) => {
    const failed = (why: string): void => reject(new Error(`${name} ${why}:\n${log.trimEnd()}`));
    const timer = setTimeout(() => failed(`is not ready after ${readyWithinMs / 1000} s`), readyWithinMs);
    child.once('close', () => {
      clearTimeout(timer);
      failed('ended');
    });
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      // Bounded: a server that complains without end must not fill the memory of the demo.
      log = (log + chunk).slice(-keptLogLength);
      const found = log
        .split('\n')
        .map(read)
        .find((line) => line !== undefined);
      if (found === undefined) return;
      clearTimeout(timer);
      resolve(found);
    });
  });
  try {
    return { pid: child.pid ?? 0, ready: await ready, log: () => log, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The addresses in the log line `ready` of a sidecar; undefined for any other. */
function readReady(line: string): SidecarProcess['addresses'] | undefined {
  if (!line.includes('"msg":"ready"')) return undefined;
  const { outbound, metrics, inbound } = asObject(parseObject(line)?.['addresses']);
  if (typeof outbound !== 'string' || typeof metrics !== 'string') return undefined;
  return { outbound, metrics, inbound: typeof inbound === 'string' ? inbound : undefined };
}

/** The port in the first line of an agent. */
function readPort(line: string): number | undefined {
  const port = parseObject(line)?.['port'];
  return typeof port === 'number' ? port : undefined;
}
