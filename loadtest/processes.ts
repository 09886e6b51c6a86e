import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const running = new Set<ChildProcess>();
const startMs = 20_000;
const stopMs = 3000;

/** A Node process of the load test, pinned to one core where there are two. */
export class PinnedProcess {
  readonly #child: ChildProcess;
  readonly pid: number;

  /**
   * @param command Arguments of node: a script of this folder, which then speaks with `ask`, or the sidecar's entry.
   * @param core Its core; undefined on a machine with one core only.
   * @param log A file for its output; without it, errors go to the terminal.
   */
  constructor(command: readonly string[], core: number | undefined, log?: string) {
    const node = [process.execPath, ...command];
    // taskset becomes node itself, so the pid stays the one whose CPU is counted.
    const [program = process.execPath, ...rest] = core === undefined ? node : ['taskset', '-c', String(core), ...node];
    const output = log === undefined ? undefined : openSync(log, 'a');
    const stdio =
      output === undefined ? (['ignore', 'ignore', 'inherit', 'ipc'] as const) : (['ignore', output, output] as const);
    this.#child = spawn(program, rest, {
      stdio: [...stdio],
      env: { PATH: process.env['PATH'], HOME: process.env['HOME'] },
    });
    if (this.#child.pid === undefined) throw new Error(`cannot start ${program}`);
    this.pid = this.#child.pid;
    running.add(this.#child);
    this.#child.once('exit', () => running.delete(this.#child));
  }

  /** Sends `question`, if there is one, and waits for the next message. Rejects when the process ends or stays silent. */
  async ask<Answer>(question?: object, withinMs: number = startMs): Promise<Answer> {
    const abort = new AbortController();
    const { signal } = abort;
    const answered = once(this.#child, 'message', { signal }).then(([message]) => message as Answer);
    const ended = once(this.#child, 'exit', { signal }).then(() => {
      throw new Error(`process ${this.pid} ended`);
    });
    const late = sleep(withinMs, undefined, { signal }).then(() => {
      throw new Error(`process ${this.pid} did not answer within ${withinMs} ms`);
    });
    if (question !== undefined) this.#child.send(question);
    try {
      return await Promise.race([answered, ended, late]);
    } finally {
      abort.abort();
      await Promise.allSettled([answered, ended, late]);
    }
  }

  get alive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }
}

/** Ends every process that was started here: politely, then by force. */
export async function stopAll(): Promise<void> {
  const ends = [...running].map((child) => once(child, 'exit'));
  for (const child of running) child.kill('SIGTERM');
  await Promise.race([Promise.all(ends), sleep(stopMs)]);
  for (const child of running) child.kill('SIGKILL');
}
