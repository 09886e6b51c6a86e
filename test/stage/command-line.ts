import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

export const launcher = fileURLToPath(new URL('../../proxy/launch.js', import.meta.url));

/** What a finished command said. */
export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly uid?: number;
  readonly gid?: number;
  /** Leads a group of its own, which can be killed with all its children. */
  readonly detached?: boolean;
}

const started = new Set<ChildProcess>();

/** Ends what a failed test left running. */
export function killRemaining(): void {
  for (const child of started) child.kill('SIGKILL');
}

/** A program that runs, with what it has said so far. */
export class Running {
  readonly child: ChildProcess;
  readonly finished: Promise<Finished>;
  stdout = '';
  stderr = '';

  constructor(program: string, args: readonly string[], options: CommandOptions = {}) {
    this.child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    started.add(this.child);
    this.child.once('exit', () => started.delete(this.child));
    this.child.stdout?.setEncoding('utf8').on('data', (chunk: string) => (this.stdout += chunk));
    this.child.stderr?.setEncoding('utf8').on('data', (chunk: string) => (this.stderr += chunk));
    this.finished = once(this.child, 'close').then(([code, signal]) => ({
      code: code as number | null,
      signal: signal as NodeJS.Signals | null,
      stdout: this.stdout,
      stderr: this.stderr,
    }));
  }

  /** The log line `ready` of a sidecar, once it is there. */
  async ready(): Promise<{ readonly pid: number; readonly addresses: Readonly<Record<string, string>> }> {
    for (;;) {
      const line = this.stderr.split('\n').find((candidate) => candidate.endsWith('"msg":"ready"}'));
      if (line !== undefined) return JSON.parse(line) as Awaited<ReturnType<Running['ready']>>;
      const ended = await Promise.race([this.finished, once(this.child.stderr!, 'data')]);
      if ('code' in ended) throw new Error(`it ended with ${ended.code}: ${ended.stderr}`);
    }
  }
}

/** Runs `waybill ARGS` as a process of its own, to its end. */
export function runWaybill(args: readonly string[], options: CommandOptions = {}): Promise<Finished> {
  return new Running(process.execPath, [launcher, ...args], options).finished;
}

/** Whether a process is there. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
