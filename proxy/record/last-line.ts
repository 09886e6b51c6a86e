import { hash } from 'node:crypto';
import { readSync } from 'node:fs';

const lineFeed = 0x0a;
const pieceBytes = 65_536;
/** Above any two lines of ours: what is longer is no record. */
const maxBytes = 2 * 1024 * 1024;

/** SHA-256 (hex) of the last line of an open file that has its line feed; undefined where there is none, or none that is a line of ours. */
export function digestOfLastLine(fd: number, size: number): string | undefined {
  for (let wanted = pieceBytes; ; wanted *= 4) {
    const from = Math.max(0, size - Math.min(wanted, maxBytes));
    const line = findLastLine(readPart(fd, from, size), from === 0);
    if (line !== undefined) return hash('sha256', line, 'hex');
    if (from === 0 || wanted >= maxBytes) return undefined;
  }
}

function readPart(fd: number, from: number, to: number): Buffer {
  const part = Buffer.alloc(to - from);
  const count = readSync(fd, part, 0, part.length, from);
  return part.subarray(0, count);
}

/** Undefined where the beginning of the line is not in this part. A fragment behind the last line feed is no line. */
function findLastLine(part: Buffer, isWhole: boolean): Buffer | undefined {
  const end = part.lastIndexOf(lineFeed);
  if (end < 0) return undefined;
  const before = part.subarray(0, end).lastIndexOf(lineFeed);
  return before < 0 && !isWhole ? undefined : part.subarray(before + 1, end);
}
