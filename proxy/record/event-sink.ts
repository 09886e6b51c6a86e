import { closeSync, fstatSync, ftruncateSync, mkdirSync, openSync, readSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

const lineFeed = Buffer.from('\n');

/** What a sink took: `bytes` of whole lines that stand or will stand in the record, and whether all of it is with the system now. */
export interface Taken {
  readonly bytes: number;
  readonly isWhole: boolean;
}

/** Where the lines of the record go. */
export interface EventSink {
  /** Writes whole lines at once. */
  write(lines: Buffer): Taken;
  close(): void;
}

/**
 * The record as a file, appended to. A short write (full disk) is cut off again, so that no fragment stands between two lines; a
 * fragment that a killed process left is closed with a line feed when the file is opened.
 */
export function openFileSink(file: string): EventSink {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const fd = openSync(file, 'a+', 0o600);
  let size = fstatSync(fd).size;
  let torn = size > 0 && !endsWithLineFeed(fd, size);
  return {
    write(lines) {
      const bytes = torn ? Buffer.concat([lineFeed, lines]) : lines;
      try {
        if (writeSync(fd, bytes) === bytes.length) {
          size += bytes.length;
          torn = false;
          return { bytes: lines.length, isWhole: true };
        }
      } catch {
        // A failed write may have left a part as well: it is cut off below.
      }
      torn = !cutBack(fd, size) || torn;
      return { bytes: 0, isWhole: false };
    },
    close: () => closeSync(fd),
  };
}

function endsWithLineFeed(fd: number, size: number): boolean {
  const last = Buffer.alloc(1);
  readSync(fd, last, 0, 1, size - 1);
  return last[0] === 0x0a;
}

function cutBack(fd: number, size: number): boolean {
  try {
    ftruncateSync(fd, size);
    return true;
  } catch {
    return false;
  }
}

/**
 * The record as a stream on a descriptor that does not block: what a full pipe does not take refuses calls. A line that was taken in
 * part cannot be taken back, so it counts as written, its rest goes out before anything else, and until then nothing else is taken.
 */
export function openStreamSink(fd: number): EventSink {
  let rest: Buffer = Buffer.alloc(0);
  const send = (bytes: Buffer): number => {
    try {
      return writeSync(fd, bytes);
    } catch {
      return 0;
    }
  };
  return {
    write(lines) {
      if (rest.length > 0) rest = rest.subarray(send(rest));
      if (rest.length > 0) return { bytes: 0, isWhole: false };
      const sent = send(lines);
      if (sent === lines.length) return { bytes: sent, isWhole: true };
      const end = sent === 0 || lines[sent - 1] === 0x0a ? sent : lines.indexOf(0x0a, sent) + 1;
      // Copied: the caller uses its buffer again.
      rest = Buffer.from(lines.subarray(sent, end));
      return { bytes: end, isWhole: false };
    },
    close: () => void (rest.length > 0 && send(rest)),
  };
}

/** A record with a lossy copy beside it. What the copy does not take is counted and told nobody. */
export function withCopy(record: EventSink, copy: EventSink, onLost: () => void): EventSink {
  return {
    write(lines) {
      const taken = record.write(lines);
      if (taken.isWhole && !copy.write(lines).isWhole) onLost();
      return taken;
    },
    close() {
      record.close();
      copy.close();
    },
  };
}
