import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';

/** A program that runs until it is ended. */
export interface StartedProgram {
  /** Asks until `check` says yes; throws what the program printed where it ends before, or does not get ready within the limit. */
  ready(check: () => Promise<boolean>, limitMs?: number): Promise<void>;
  /** The end of what it printed. */
  output(): string;
  signal(name: NodeJS.Signals): void;
  /** SIGTERM, then SIGKILL after 10 s; returns at its end. */
  stop(): Promise<void>;
  /** SIGKILL; returns at its end. */
  kill(): Promise<void>;
}

const keptBytes = 20_000;

/** Starts a program of a stage, by its pid ended. One processor is enough for it, and leaves the others to the tests. */
export function startProgram(program: string, args: readonly string[]): StartedProgram {
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, GOMAXPROCS: '1' },
  });
  let printed = '';
  let ended = false;
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (chunk: string) => (printed = (printed + chunk).slice(-keptBytes)));
  const exited = new Promise<void>((done) => {
    child
      .once('error', (error) => {
        printed += error.message;
        done();
      })
      .once('exit', () => done());
  }).then(() => (ended = true));
  return {
    output: () => printed,
    async ready(check, limitMs = 60_000) {
      const end = performance.now() + limitMs;
      while (!(await check())) {
        if (ended || performance.now() > end) throw new Error(`${program} does not get ready: ${printed.slice(-2000)}`);
        await sleep(100);
      }
    },
    signal: (name) => void child.kill(name),
    async stop() {
      child.kill('SIGTERM');
      const impatience = setTimeout(() => child.kill('SIGKILL'), 10_000);
      await exited;
      clearTimeout(impatience);
    },
    async kill() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}
