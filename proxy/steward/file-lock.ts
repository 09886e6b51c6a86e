import { closeSync, fstatSync, lstatSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';

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
  const inode = open(path);
  const isOurs = (): boolean => lstatSync(path, { throwIfNoEntry: false })?.ino === inode;
  return { isOurs, release: () => isOurs() && rmSync(path, { force: true }) };
}

/** Returns what tells the lock from one that takes its place. */
function open(path: string): number {
  for (let waitedMs = 0; ; waitedMs += pauseMs) {
    try {
      const fd = openSync(path, 'wx', 0o600);
      try {
        writeSync(fd, `${process.pid}`);
        return fstatSync(fd).ino;
      } finally {
        closeSync(fd);
      }
    } catch (error) {
      const found = lstatSync(path, { throwIfNoEntry: false });
      if (found?.isFile() === false || !isTaken(error)) throw error;
      if (found === undefined) continue;
      if (waitedMs >= leftOverMs || isLeft(path)) rmSync(path, { force: true });
      else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pauseMs);
    }
  }
}

/** Whether its process is gone. One of another container may look so: then `isOurs` tells it that it has lost the lock. */
function isLeft(path: string): boolean {
  try {
    const pid = Number(readFileSync(path, 'utf8'));
    if (!Number.isSafeInteger(pid) || pid <= 0) return false;
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ESRCH';
  }
}

function isTaken(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EEXIST';
}
