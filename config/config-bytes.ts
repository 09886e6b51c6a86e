import { isUtf8 } from 'node:buffer';
import { closeSync, constants, fstatSync, openSync, readSync, realpathSync } from 'node:fs';
import { ConfigErrors, type Place } from './config-errors.ts';

/** Far above any real file; a guard for memory and for the parser. */
export const maxConfigBytes = 1024 * 1024;
export const tooLarge = 'is larger than 1 MiB';

/** How long a pipe may be without anybody who writes to it, milliseconds. */
const writerWithinMs = 5000;
/**
 * How soon it is asked again, milliseconds; longer each time that nothing came. At the end of a text that must be soon: some writers open the
 * pipe anew for whoever reads next, and to one who was late both texts are one.
 */
const againSoonMs = 0.1;
const againLateMs = 2;

/**
 * What a configuration is read from. The first time a person who named a pipe waits for it (`--config <(…)`), but not for ever for somebody
 * to write to it. A sidecar that runs must not wait at all: that would hold up every call.
 */
export type ConfigSource = 'anything' | 'regular file';

/** The bytes of a file. Throws ConfigErrors where it is none, cannot be read, or is larger than a configuration may be. */
export function readConfigBytes(path: string, source: ConfigSource): Buffer {
  try {
    // Else a pipe would not even be opened before somebody opens it to write.
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      return readWhole(fd, path, source);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (error instanceof ConfigErrors) throw error;
    throw fileError(path, `cannot be read: ${reasonOf(error)}`, error);
  }
}

function readWhole(fd: number, path: string, source: ConfigSource): Buffer {
  const status = fstatSync(fd);
  if (status.isDirectory()) throw fileError(path, 'cannot be read: it is a folder');
  if (source === 'regular file' && !status.isFile()) throw fileError(path, 'cannot be read: it is no regular file');
  if (status.size > maxConfigBytes) throw fileError(path, tooLarge);
  // One byte more than allowed shows that there is more, of a pipe, and of a file that grows meanwhile.
  const buffer = Buffer.alloc(maxConfigBytes + 1);
  const giveUpAt = performance.now() + writerWithinMs;
  let hasWriter = !(status.isFIFO() && hasName(path));
  let size = 0;
  let againMs = againSoonMs;
  while (size < buffer.length) {
    const read = readNow(fd, buffer, size);
    if (read === 0 && hasWriter) return buffer.subarray(0, size);
    hasWriter ||= read !== 0;
    if (!hasWriter && performance.now() > giveUpAt) throw fileError(path, 'cannot be read: nobody writes to this pipe');
    if (read === undefined || read === 0) {
      pause(againMs);
      againMs = Math.min(againMs * 2, againLateMs);
    } else {
      size += read;
      againMs = againSoonMs;
    }
  }
  throw fileError(path, tooLarge);
}

/** How much was read; 0 at the end, and where nobody writes; undefined while somebody may still write. */
function readNow(fd: number, buffer: Buffer, offset: number): number | undefined {
  try {
    return readSync(fd, buffer, offset, buffer.length - offset, null);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EAGAIN') return undefined;
    throw error;
  }
}

/** Whether a pipe stands in a folder. One of a shell (`|`, `<(…)`) had its writer before we were there: without one it is at its end. */
function hasName(path: string): boolean {
  try {
    realpathSync.native(path);
    return true;
  } catch {
    return false;
  }
}

function pause(forMs: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, forMs);
}

/**
 * Text of a configuration. Throws ConfigErrors at the first byte that is not UTF-8: put in place of it, a sign that stands for all that
 * cannot be read would make a rule for `/gehälter` one that matches no path, and a deny that denies nothing.
 */
export function decodeConfig(bytes: Buffer, fileName: string): string {
  const text = bytes.toString('utf8');
  if (isUtf8(bytes)) return text;
  const error = { ...findDamage(bytes, text), path: '', message: 'is not UTF-8 from here on; save the file as UTF-8' };
  throw new ConfigErrors(fileName, [error]);
}

/** An error of a file as a whole. */
export function fileError(fileName: string, message: string, cause?: unknown): ConfigErrors {
  return new ConfigErrors(fileName, [{ line: 1, column: 1, path: '', message }], 0, cause);
}

const damaged = '\uFFFD';
const damagedBytes = Buffer.from(damaged);

/** Where the first of these signs stands that the bytes themselves do not have. */
function findDamage(bytes: Buffer, text: string): Place {
  let at = text.indexOf(damaged);
  let offset = Buffer.byteLength(text.slice(0, at));
  while (bytes.subarray(offset, offset + damagedBytes.length).equals(damagedBytes)) {
    const next = text.indexOf(damaged, at + 1);
    offset += Buffer.byteLength(text.slice(at, next));
    at = next;
  }
  const before = text.slice(0, at).split('\n');
  return { line: before.length, column: (before.at(-1) ?? '').length + 1 };
}

function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOENT') return 'there is no such file';
  if (code === 'EISDIR') return 'it is a folder';
  if (code === 'EMFILE' || code === 'ENFILE') return 'too many files are open';
  if (code === 'ENOTDIR') return 'a part of its path is no folder';
  if (code === 'ELOOP') return 'its links lead in a circle';
  if (code === 'ENAMETOOLONG') return 'its path is too long';
  return code === 'EACCES' ? 'this user may not read it' : 'the system refuses';
}
