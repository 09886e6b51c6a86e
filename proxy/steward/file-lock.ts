import { randomBytes } from 'node:crypto';
import { closeSync, lstatSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';

/** After so long a lock is taken for that of a process that was killed; milliseconds. A dead one of this machine waits for nobody. */
const leftOverMs = 2000;
const pauseMs = 5;

/** That this process alone writes a file, among all that ask for the same lock. */
export interface FileLock {
  /** Whether nobody took it for a left one meanwhile: a disk may be slower than `leftOverMs`. */
  isOurs(): boolean;
  release(): void;
}

/** Takes a lock, a file with the id of its process in it, and waits while somebody has it. @throws the system's error. */
export function takeLock(path: string): FileLock {
  // Not by the number of the file: file systems give that of a removed one to the next.
  const word = `${process.pid} ${randomBytes(8).toString('hex')}`;
  for (let waitedMs = 0; !isMade(path, word); waitedMs += pauseMs) {
    if (waitedMs >= leftOverMs || isLeft(path)) rmSync(path, { force: true });
    else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pauseMs);
  }
  const isOurs = (): boolean => readLock(path) === word;
  return { isOurs, release: () => isOurs() && rmSync(path, { force: true }) };
}

/** Whether the lock was there for us to make; not where somebody has it. */
function isMade(path: string, word: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, 'wx', 0o600);
  } catch (error) {
    if (codeOf(error) === 'EEXIST' && lstatSync(path, { throwIfNoEntry: false })?.isFile() !== false) return false;
    throw error;
  }
  try {
    writeSync(fd, word);
    return true;
  } catch (error) {
    // On a full disk: nobody shall wait for it.
    rmSync(path, { force: true });
    throw error;
  } finally {
    closeSync(fd);
  }
}

/** Whether its process is gone. One of another container may look so: then `isOurs` tells it that it has lost the lock. */
function isLeft(path: string): boolean {
  const pid = Number(readLock(path)?.split(' ', 1)[0]);
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return codeOf(error) === 'ESRCH';
  }
}

/** What is in it; undefined where it is gone, or cannot be read. */
function readLock(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
