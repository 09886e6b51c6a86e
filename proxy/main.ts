import { Socket } from 'node:net';
import { constants } from 'node:os';
import { ConfigErrors } from '../config/config-errors.ts';
import { suggest } from '../config/nearness.ts';
import { CommandFailure, exitCodes, type Command, type Invocation } from './cli/command.ts';
import { faultFacts, openProcessLog } from './process-log.ts';

/** A command as the overview shows it. Its file is loaded when it is called: a sidecar loads no demo. */
interface ListedCommand {
  readonly summary: string;
  load(): Promise<Command>;
}

const commands: ReadonlyMap<string, ListedCommand> = new Map([
  [
    'demo',
    {
      summary:
        'show calls on their way: exchanged, proved, refused, handed on, replayed in vain (on this machine, in seconds)',
      load: async () => (await import('./cli/demo.ts')).demo,
    },
  ],
  [
    'run',
    {
      summary: 'run the sidecar, or a command behind one: run -- CMD',
      load: async () => (await import('./cli/run.ts')).run,
    },
  ],
  [
    'validate',
    {
      summary: 'check a configuration: all errors at once, warnings, what is unsafe',
      load: async () => (await import('./cli/validate.ts')).validate,
    },
  ],
  [
    'doctor',
    {
      summary: 'examine a configuration and its surroundings: what will stop calls, and what to do',
      load: async () => (await import('./cli/doctor.ts')).doctor,
    },
  ],
  [
    'tasks',
    {
      summary: 'open, list, complete and fail tasks of a running sidecar',
      load: async () => (await import('./cli/tasks.ts')).tasks,
    },
  ],
  [
    'revoke',
    {
      summary: 'take a task, a user, an agent, a tool or everything out at once',
      load: async () => (await import('./cli/revoke.ts')).revoke,
    },
  ],
  [
    'inventory',
    {
      summary: 'list identities, credentials and tasks of a running sidecar',
      load: async () => (await import('./cli/inventory.ts')).inventory,
    },
  ],
  [
    'events',
    {
      summary: 'verify the record: sequence, hash chain and signatures',
      load: async () => (await import('./cli/events.ts')).events,
    },
  ],
  [
    'health',
    {
      summary: 'say whether a running sidecar is ready, for health checks of containers',
      load: async () => (await import('./cli/health.ts')).health,
    },
  ],
]);

/** Whom it is told that standard output takes no more, by commands that close something first. */
const unwritten: (() => void)[] = [];

endAtEarlyStop(process.argv.slice(2));
ignoreEarlyHangUp(process.argv.slice(2));
watchLifeline();
watchFaults();
const ended = await main(process.argv.slice(2));
// All that was printed is out first. Whatever a command that failed left open must not keep the process.
process.stdout.write('', (error) => {
  if (error) endUnwritten(process.stdout.errored ?? error, ended);
  process.exit(ended);
});

async function main([name, ...args]: readonly string[]): Promise<number> {
  if (name === '--help' || name === '-h' || name === 'help') return help(args[0]);
  if (name === '--version') return printed((await import('./open-record.ts')).version);
  // A map, so that no name but ours is a command, not even `constructor`.
  const listed = commands.get(name ?? '');
  if (listed === undefined) {
    return name === undefined ? told(`waybill: which command?\n\n${overview()}`, exitCodes.usage) : unknown(name);
  }
  const command = await listed.load();
  if (asksForHelp(args)) return printed(command.usage);
  try {
    return await command.run(invocationOf(args));
  } catch (error) {
    // Already in the form file:line:column: message, which a prefix would break.
    if (error instanceof ConfigErrors) return told(error.message, exitCodes.usage);
    if (error instanceof CommandFailure) return told(`waybill ${name}: ${error.message}`, error.exitCode);
    // Neither a refusal nor a mistake of the caller: a fault, told by the handler below.
    throw error;
  }
}

/** What stands behind `--` belongs to another program. */
function asksForHelp(args: readonly string[]): boolean {
  const end = args.indexOf('--');
  return (end < 0 ? args : args.slice(0, end)).some((argument) => argument === '--help' || argument === '-h');
}

/** `waybill help`, and `waybill help COMMAND`. */
async function help(name: string | undefined): Promise<number> {
  if (name === undefined) return printed(overview());
  const command = commands.get(name);
  return command === undefined ? unknown(name) : printed((await command.load()).usage);
}

function unknown(name: string): number {
  const problem = `there is no command ${JSON.stringify(name)}${suggest(name, commands.keys())}`;
  return told(`waybill: ${problem}\n\n${overview()}`, exitCodes.usage);
}

/** All commands, one line each. */
function overview(): string {
  const lines = [...commands].map(([name, { summary }]) => `  ${name.padEnd(11)}${summary}\n`);
  return `Waybill, the sidecar that exchanges an agent's identity for a token of one tool, one task and a few minutes.

Usage: waybill COMMAND [options]

${lines.join('')}
  waybill COMMAND --help explains one. waybill --version says which this is.
  Exit codes: 0 well, 1 no, 64 wrong usage or configuration, 69 a service is not there, 70 fault.
`;
}

/** The process as a command sees it. Commands read no environment of their own accord. */
function invocationOf(args: readonly string[]): Invocation {
  const { env, stdout } = process;
  return {
    args,
    surroundings: { uid: process.getuid?.() ?? 0, env },
    // https://no-color.org
    colour: stdout.isTTY && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb',
    print: (line) => void stdout.write(`${line}\n`),
    tell: say,
    hearUnwritten: (listener) => void unwritten.push(listener),
  };
}

/** A text that was asked for. */
function printed(text: string): number {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
  return exitCodes.ok;
}

/** A text that says why nothing was done. */
function told(message: string, exitCode: number): number {
  say(message);
  return exitCode;
}

/** For people. What cannot be written there changes nothing of what came out, which the exit code says. */
function say(text: string): void {
  const { stderr } = process;
  // Not before there is something to say: to touch it makes a pipe non-blocking, which the process log waits on.
  if (stderr.listenerCount('error') === 0) stderr.on('error', () => undefined);
  stderr.write(text.endsWith('\n') ? text : `${text}\n`);
}

/**
 * The first process of a container dies of no signal that it does not listen to: one that comes before `run` listens itself would be lost,
 * and the container killed when its time to stop is over. Any other process dies of it, also while it waits for its configuration.
 */
function endAtEarlyStop([name]: readonly string[]): void {
  if (process.pid !== 1 || name !== 'run') return;
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.on(signal, () => {
      // Whoever listens, too, closes in order.
      if (process.listenerCount(signal) === 1) process.exit(128 + constants.signals[signal]);
    });
}

/**
 * SIGHUP before `run` listens to it itself would end a sidecar that somebody only told to reload: it reads its file later anyway. Before a
 * command it is the end of a terminal and stays the end of us, as it does for all else.
 */
function ignoreEarlyHangUp([name, ...args]: readonly string[]): void {
  if (name === 'run' && !args.includes('--')) process.on('SIGHUP', () => undefined);
}

/**
 * Whoever started us as a child with this pipe (launch.js on an old Node.js, the demo) lives as long as it is open. Its end means that
 * they were killed, and then this process ends the same way: a sidecar that nobody knows of must not go on.
 */
function watchLifeline(): void {
  const fd = process.env['WAYBILL_LIFELINE_FD'];
  // Not for the children of this process.
  delete process.env['WAYBILL_LIFELINE_FD'];
  if (fd === undefined || !/^\d{1,3}$/.test(fd)) return;
  const lifeline = new Socket({ fd: Number(fd), readable: true, writable: false });
  lifeline.on('error', () => undefined).once('close', () => process.kill(process.pid, 'SIGKILL'));
  lifeline.resume();
  lifeline.unref();
}

/** What nobody caught may have left anything half done: logged without its message (W8), and the end. */
function watchFaults(): void {
  process.on('uncaughtException', (error) => {
    openProcessLog().fatal(faultFacts(error), 'fault');
    process.exit(exitCodes.fault);
  });
  process.stdout.on('error', (error) => {
    // Who listens ends by himself, and what standard output says is looked at then.
    if (unwritten.length === 0) endUnwritten(error, exitCodes.ok);
    for (const listener of unwritten) listener();
  });
}

/**
 * Ends where standard output takes no more. A full disk is a fault: a script would take what it has for all there is, such as a list of
 * credentials. A reader that closed the pipe (`| head`) has seen enough.
 */
function endUnwritten(error: Error, otherwise: number): never {
  const code = 'code' in error ? String(error.code) : 'unknown error';
  if (code === 'EPIPE') process.exit(otherwise);
  say(`waybill: what it printed could not be written (${code})`);
  process.exit(exitCodes.fault);
}
