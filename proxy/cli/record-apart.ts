import { fstatSync, statSync, type BigIntStats } from 'node:fs';
import { isatty } from 'node:tty';
import { CommandFailure, exitCodes } from './command.ts';

/** What a command inherits of us and can write to. */
const inherited = [
  [1, 'standard output'],
  [2, 'standard error'],
] as const;

/**
 * Refuses a record that the command of `run -- COMMAND` would inherit: whatever it prints would stand between the lines, and could be
 * lines of its own making. @param recordFile undefined where standard output alone is the record.
 */
export function refuseSharedRecord(recordFile: string | undefined): void {
  const shared = recordFile === undefined ? 'standard output' : inherited.find(([fd]) => leadsTo(recordFile, fd))?.[1];
  if (shared === undefined) return;
  throw new CommandFailure(
    exitCodes.usage,
    `the record is ${shared}, which the command writes to as well, and could write lines of the record: name a file in record.file`,
  );
}

/** Whether a path leads to what is open there, by whatever name: `/dev/stdout`, a pipe, or the file of a redirection. */
function leadsTo(path: string, fd: number): boolean {
  const there = lookAt(() => statSync(path, { bigint: true }));
  const open = lookAt(() => fstatSync(fd, { bigint: true }));
  if (there === undefined || open === undefined || there.ino !== open.ino || there.dev !== open.dev) return false;
  // What goes to /dev/null is read by nobody.
  return !there.isCharacterDevice() || isatty(fd);
}

/** Undefined for what is not there, or is closed. */
function lookAt(look: () => BigIntStats): BigIntStats | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
