import { isUtf8 } from 'node:buffer';
import { readFileSync } from 'node:fs';
import { ConfigErrors, type Place } from './config-errors.ts';

/** The bytes of a file. Throws ConfigErrors where it cannot be read. */
export function readConfigBytes(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw fileError(path, `cannot be read: ${reasonOf(error)}`);
  }
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
export function fileError(fileName: string, message: string): ConfigErrors {
  return new ConfigErrors(fileName, [{ line: 1, column: 1, path: '', message }]);
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
  return code === 'EACCES' ? 'this user may not read it' : 'the system refuses';
}
