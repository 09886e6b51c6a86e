import { spawn, type ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import { isatty } from 'node:tty';
import { CommandFailure, exitCodes } from './command.ts';

/** Starts an agent on this terminal and waits for its end. Resolves with its exit code, 128 and the signal's number if one ended it. */
export async function runAgent(
  [program, ...args]: readonly [string, ...string[]],
  env: Readonly<Record<string, string | undefined>>,
): Promise<number> {
  const child = start(program, args, env);
  const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
  // Ctrl-C in a terminal reaches the agent without us: a second SIGINT means "at once" to many programs, which then tidy up nothing.
  const hasTerminal = isatty(0);
  // So does Ctrl-\, with which Java and Go tell what they are at. Without us the agent would go on with no sidecar, and tokens that nobody
  // revokes.
  const interrupt = (signal: NodeJS.Signals): void => {
    if (!hasTerminal) forward(signal);
  };
  // The agent ends first and we end with it: its last calls still find the sidecar.
  process.on('SIGTERM', forward).on('SIGHUP', forward).on('SIGINT', interrupt).on('SIGQUIT', interrupt);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', (error: NodeJS.ErrnoException) => {
        reject(unstartable(program, error.code ?? 'unknown error'));
      });
      child.once('exit', (code, signal) => {
        // As shells tell it.
        resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
      });
    });
  } finally {
    process.off('SIGTERM', forward).off('SIGHUP', forward).off('SIGINT', interrupt).off('SIGQUIT', interrupt);
  }
}

/** Some reasons Node.js throws, and others it emits. */
function start(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): ChildProcess {
  try {
    return spawn(program, args, { stdio: 'inherit', env: { ...env } });
  } catch (error) {
    throw error instanceof Error && 'code' in error ? unstartable(program, String(error.code)) : error;
  }
}

function unstartable(program: string, code: string): CommandFailure {
  return new CommandFailure(exitCodes.usage, `${program} cannot be started (${code})`);
}
