import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { defaultFolders, type Surroundings } from '../../config/paths.ts';
import { findRunFolderFault } from '../own-folder.ts';
import { readProcessName } from '../tasks/process.ts';
import { CommandFailure, exitCodes } from './command.ts';
import { asObject, parseObject } from './json-object.ts';

/** Where a sidecar that runs answers: what the file of its configuration says by now may be something else, or nothing. */
export interface RunningPlaces {
  /** `host:port` of `/readyz`. */
  readonly health: string;
  /** Path of the operator's socket. */
  readonly socket: string;
}

/**
 * Leaves word in the run folder where the sidecar of a configuration answers, for commands beside it. Where the folder cannot be had,
 * they read the configuration.
 * @returns takes the word back.
 */
export function announceRunning(
  file: string,
  surroundings: Surroundings,
  { health, socket }: RunningPlaces,
): () => void {
  const { run } = defaultFolders(surroundings);
  const path = pathOf(file, run);
  // Who reads it may be in another folder.
  const content = JSON.stringify({ health, socket: resolve(socket), pid: process.pid, start: findStart(process.pid) });
  try {
    mkdirSync(run, { recursive: true, mode: 0o700 });
    if (findRunFolderFault(run, surroundings.uid) !== undefined) return () => undefined;
    sweep(run);
    writeFileSync(`${path}.${process.pid}`, content, { mode: 0o600 });
    renameSync(`${path}.${process.pid}`, path);
  } catch {
    return () => undefined;
  }
  return () => {
    // Another one with the same configuration may have come meanwhile.
    if (readText(path) !== content) return;
    try {
      rmSync(path);
    } catch {
      // It is of no more use to anybody: its process is gone.
    }
  };
}

/** Where the sidecar that was started with this configuration answers; undefined where none left word. */
export function findRunning(file: string, surroundings: Surroundings): RunningPlaces | undefined {
  const { run } = defaultFolders(surroundings);
  // Under the temporary folder it could be somebody else's, with word of a sidecar that is well.
  if (findRunFolderFault(run, surroundings.uid) !== undefined) return undefined;
  return readWord(pathOf(file, run));
}

/**
 * Where the one sidecar answers that runs here, whatever configuration it was started with: for who knows none.
 * @throws CommandFailure where there is none, or more than one to choose from.
 */
export function findOnlyRunning(surroundings: Surroundings): RunningPlaces {
  const { run } = defaultFolders(surroundings);
  const fault = findRunFolderFault(run, surroundings.uid);
  if (fault !== undefined) throw new CommandFailure(exitCodes.unavailable, `no sidecar can be looked for: ${fault}`);
  const found = listWords(run).flatMap((path) => readWord(path) ?? []);
  const advice = 'name its configuration with --config FILE';
  const [only, ...others] = found;
  if (only === undefined)
    throw new CommandFailure(exitCodes.unavailable, `no sidecar answers: none left word in ${run}; ${advice}`);
  // Any of them would be a guess, and the word of one that is well for another that is not.
  if (others.length > 0)
    throw new CommandFailure(
      exitCodes.usage,
      `${found.length} sidecars run here: for the one that is meant, ${advice}`,
    );
  return only;
}

/** Undefined where there is none any more: one that was killed could not take its word back. */
function readWord(path: string): RunningPlaces | undefined {
  const { health, socket, pid, start } = asObject(parseObject(readText(path)));
  if (typeof health !== 'string' || typeof socket !== 'string') return undefined;
  return typeof pid === 'number' && isThere(pid, start) ? { health, socket } : undefined;
}

/** Takes away what those left that were killed: else each configuration in a temporary folder would leave a file for good. */
function sweep(run: string): void {
  for (const name of readdirSync(run)) {
    const path = join(run, name);
    if (/^running-[0-9a-f]{16}\.json/.test(name) && readWord(path) === undefined) rmSync(path, { force: true });
  }
}

/** The words in a run folder; none where there is no such folder. Without those that are being written. */
function listWords(run: string): readonly string[] {
  if (!existsSync(run)) return [];
  return readdirSync(run).flatMap((name) => (/^running-[0-9a-f]{16}\.json$/.test(name) ? [join(run, name)] : []));
}

/** A number is given out again, and in a container it is 1 each time: only with the start of the process it names one. */
function isThere(pid: number, start: unknown): boolean {
  const found = findStart(pid);
  // Where the system tells neither, the number has to do.
  if (found !== undefined || start !== undefined) return found === start;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** When a process started, in the words of its machine; undefined where there is no such process, or nobody tells (no Linux). */
function findStart(pid: number): string | undefined {
  return readProcessName(pid)?.start;
}

/** One for each configuration: several sidecars may run beside each other. */
function pathOf(file: string, run: string): string {
  const digest = createHash('sha256').update(resolve(file)).digest('hex');
  return join(run, `running-${digest.slice(0, 16)}.json`);
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
