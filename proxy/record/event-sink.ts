import { closeSync, fstatSync, ftruncateSync, mkdirSync, openSync, readSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

const lineFeed = Buffer.from('\n');

/** Where the lines of the record go. */
export interface EventSink {
  /** Writes whole lines at once. Returns how many bytes stand in the record: all of them, or fewer when it is full. */
  write(lines: Buffer): number;
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
          return lines.length;
        }
      } catch {
        // A failed write may have left a part as well: it is cut off below.
      }
      torn = !cutBack(fd, size) || torn;
      return 0;
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

/** The record as a stream on a descriptor that does not block: what a full pipe does not take refuses calls. */
export function openStreamSink(fd: number): EventSink {
  let torn = false;
  return {
    write(lines) {
      const bytes = torn ? Buffer.concat([lineFeed, lines]) : lines;
      const extra = bytes.length - lines.length;
      let written = 0;
      try {
        written = writeSync(fd, bytes);
      } catch {
        return 0;
      }
      // A fragment stays in a stream: the next line begins on its own.
      if (written > 0) torn = written < bytes.length && lines[written - extra - 1] !== 0x0a;
      return Math.max(0, written - extra);
    },
    close: () => undefined,
  };
}

/** A record with a lossy copy beside it. What the copy does not take is counted and told nobody. */
export function withCopy(record: EventSink, copy: EventSink, onLost: () => void): EventSink {
  return {
    write(lines) {
      const written = record.write(lines);
      if (written === lines.length && copy.write(lines) < lines.length) onLost();
      return written;
    },
    close() {
      record.close();
      copy.close();
    },
  };
}
