import { parseArgs, type ParseArgsConfig } from 'node:util';
import { suggest } from '../../config/nearness.ts';
import type { Surroundings } from '../../config/paths.ts';

/** What a command is started with, and where it says something. Only `main.ts` makes one. */
export interface Invocation {
  /** The arguments after the command's name. */
  readonly args: readonly string[];
  readonly surroundings: Surroundings;
  /** Whether standard output is a terminal that shows colours. */
  readonly colour: boolean;
  /** A line of the result, on standard output. */
  readonly print: (line: string) => void;
  /** A line for people beside the result, on standard error. */
  readonly tell: (line: string) => void;
  /** Calls back when standard output takes no more, in place of the end of the process: for a command that has something to close. */
  readonly hearUnwritten: (listener: () => void) => void;
}

/** One command of the program; each is a file of this folder. */
export interface Command {
  /** Text of `waybill COMMAND --help`. */
  readonly usage: string;
  /** Resolves with the exit code. Rejects with `CommandFailure`, or `ConfigErrors` (exit code 64). */
  run(invocation: Invocation): Promise<number>;
}

/** Exit codes of all commands, those of sysexits.h where there is one. */
export const exitCodes = {
  ok: 0,
  /** What was asked for was done, and the answer is no. */
  no: 1,
  /** Wrong usage or configuration. */
  usage: 64,
  /** A service is not there. */
  unavailable: 69,
  /** A fault of the program. */
  fault: 70,
} as const;

/** An end of a command that is no fault: its message is for people and holds no secret. */
export class CommandFailure extends Error {
  readonly exitCode: number;

  constructor(exitCode: number, message: string) {
    super(message);
    this.name = 'CommandFailure';
    this.exitCode = exitCode;
  }
}

/** `parseArgs` of node:util, with its complaints as `CommandFailure`. @param meant by an argument that is none of its options. */
export function parseArguments<const Config extends ParseArgsConfig>(
  config: Config,
  meant?: string,
): ReturnType<typeof parseArgs<Config>> {
  let parsed: ReturnType<typeof parseArgs<Config>>;
  try {
    parsed = parseArgs(config);
    refuseRepeated(config);
  } catch (error) {
    if (error instanceof CommandFailure) throw error;
    // Only its first sentence: the others explain the syntax of positional arguments.
    const message = error instanceof Error ? error.message.replace(/\. [\s\S]*$/, '') : 'the arguments cannot be read';
    throw new CommandFailure(exitCodes.usage, message + adviceOn(message, config, meant));
  }
  // As of a variable that is not set: as a file it would be told without a name, as `:1:1: cannot be read`.
  if (Reflect.get(parsed.values, 'config') === '')
    throw new CommandFailure(exitCodes.usage, '--config is empty: it names the path of a file');
  return parsed;
}

/** Of two values `parseArgs` keeps the last: whoever names two tools to `revoke` would believe that both are taken out. */
function refuseRepeated(config: ParseArgsConfig): void {
  const seen = new Set<string>();
  for (const token of parseArgs({ ...config, tokens: true }).tokens) {
    // A switch that is on twice is on.
    if (token.kind !== 'option' || token.value === undefined) continue;
    if (seen.has(token.name))
      throw new CommandFailure(exitCodes.usage, `--${token.name} is given twice, and has one value`);
    seen.add(token.name);
  }
}

/** What to do about a complaint that names an argument. */
function adviceOn(complaint: string, { options = {} }: ParseArgsConfig, meant: string | undefined): string {
  const [, kind, word = ''] = /^(Unknown option|Unexpected argument) '(.*)'$/s.exec(complaint) ?? [];
  if (kind === undefined) return '';
  const known = Object.keys(options).map((name) => `--${name}`);
  const advice = kind === 'Unknown option' ? suggest(word, known) : meant && `; ${meant}`;
  if (advice) return advice;
  return /\.ya?ml$/i.test(word) && 'config' in options
    ? '; a configuration is named with --config FILE'
    : '; see --help';
}

/** Options that every command with a result has. */
export const jsonOption = { json: { type: 'boolean', default: false } } as const;
