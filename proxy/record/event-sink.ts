import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { digestOfLastLine } from './last-line.ts';
import type { FilePlace } from './written-files.ts';

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

/** The record as a file that somebody may rotate: move away, or copy and truncate. */
export interface FileSink extends EventSink {
  /** SHA-256 of the last whole line that stood there when the file was opened; undefined in a new one. */
  readonly follows: string | undefined;
  /** The file that is written to. */
  place(): FilePlace;
  /** Whether the path leads to it. Asks the system. */
  isInPlace(): boolean;
  /** Goes on in the file that the path leads to, made if it is not there. Throws the system's error, and goes on in the one it has. */
  reopen(): void;
  /** Whether somebody else made the file shorter since this was asked last. */
  wasCut(): boolean;
}

/**
 * The record as a file, appended to. A short write (full disk) is cut off again, so that no fragment stands between two lines, unless
 * somebody else writes there too; a fragment that stays, or that another or a killed process left, is closed with a line feed.
 */
export function openFileSink(file: string): FileSink {
  let open = openAppended(file);
  return {
    follows: digestOfLastLine(open.fd, open.size),
    write(lines) {
      const bytes = endsWithinLine(open) ? Buffer.concat([lineFeed, lines]) : lines;
      let written = 0;
      try {
        written = writeSync(open.fd, bytes);
      } catch {
        // A failed write may have left a part as well: it is cut off below.
      }
      if (written === bytes.length) {
        open.size += bytes.length;
        open.torn = false;
        return { bytes: lines.length, isWhole: true };
      }
      if (cutBack(open, written)) return { bytes: 0, isWhole: false };
      // Whole lines that stay must not be written a second time; their calls are refused all the same.
      const whole = written === 0 ? 0 : bytes.lastIndexOf(lineFeed, written - 1) + 1;
      return { bytes: Math.max(0, whole - (bytes.length - lines.length)), isWhole: false };
    },
    place: () => open,
    isInPlace() {
      const there = statSync(file, { bigint: true, throwIfNoEntry: false });
      return there?.ino === open.ino && there.dev === open.dev;
    },
    reopen() {
      // The new one first: where it cannot be had, the one before must still take lines. A fragment in that one stands at its end.
      const before = open;
      open = openAppended(file);
      try {
        closeSync(before.fd);
      } catch {
        // Every line of it was with the system when its call was forwarded; there is nobody to refuse any more.
      }
    },
    wasCut() {
      const now = fstatSync(open.fd);
      if (now.size < open.size) {
        open.size = now.size;
        open.torn = isTorn(open.fd, now.size);
        open.wasCut = true;
      }
      const { wasCut } = open;
      open.wasCut = false;
      return wasCut;
    },
    close: () => closeSync(open.fd),
  };
}

/** An open file, how long it is by our count, whether it ends within a line, and whether it was found shorter than we left it. */
interface AppendedFile extends FilePlace {
  readonly fd: number;
  size: number;
  torn: boolean;
  wasCut: boolean;
}

const { O_RDWR, O_WRONLY, O_APPEND, O_CREAT, O_NONBLOCK, O_NOCTTY } = constants;

/**
 * Always with O_APPEND: a line stands at the end, wherever that is after somebody truncated the file. Never with something else that was
 * put in the place of the file: a pipe that nobody reads would stop the whole process.
 */
function openAppended(file: string): AppendedFile {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const fd = openSync(file, O_RDWR | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY, 0o600);
  try {
    const stats = fstatSync(fd, { bigint: true });
    if (!stats.isFile()) throw new Error(`${file} is no regular file any more`);
    const { dev, ino, size } = stats;
    return { fd, dev, ino, size: Number(size), torn: isTorn(fd, Number(size)), wasCut: false };
  } catch (error) {
    // It is tried again and again: each time would leave one behind.
    closeSync(fd);
    throw error;
  }
}

function isTorn(fd: number, size: number): boolean {
  if (size === 0) return false;
  const last = Buffer.alloc(1);
  readSync(fd, last, 0, 1, size - 1);
  return last[0] !== 0x0a;
}

const tail = Buffer.alloc(2);

/**
 * Asked before every write: another sidecar that writes to this file may have left a fragment, which would swallow our line, or closed
 * ours, and an empty line is no event. Where nobody else wrote, one byte is left from our last one on: that costs one call of the system.
 */
function endsWithinLine({ fd, size, torn }: AppendedFile): boolean {
  try {
    if (size > 0 && readSync(fd, tail, 0, 2, size - 1) === 1) return tail[0] !== 0x0a;
    return isTorn(fd, fstatSync(fd).size);
  } catch {
    return torn;
  }
}

/** Takes a short write back; false where it has to stay. @param written how much of a line the system says that it took. */
function cutBack(file: AppendedFile, written: number): boolean {
  let end = file.size + written;
  try {
    end = fstatSync(file.fd).size;
    if (end > file.size + written) {
      // Another sidecar writes to this file too. What stands behind our count are its lines, on which calls were let through.
      file.size = end;
      file.torn = isTorn(file.fd, end);
      return false;
    }
    // Where somebody truncated the file meanwhile (copytruncate), our count would make it longer: a hole of zeros in the record.
    const good = Math.max(0, Math.min(file.size, end - written));
    ftruncateSync(file.fd, good);
    file.wasCut ||= good < file.size;
    file.size = good;
    return true;
  } catch {
    // The fragment stays, and counts: else the next cut would go as much too deep, into a line that calls were let through on.
    file.size = end;
    file.torn = true;
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

/**
 * The record as a pipe or a device that has a name, such as `/dev/stdout`; undefined where the path leads to a regular file or none.
 * Opened without blocking, as a stream. Throws what a person can mend.
 */
export function openDeviceSink(path: string): EventSink | undefined {
  const there = statSync(path, { throwIfNoEntry: false });
  if (there === undefined || there.isFile() || there.isDirectory()) return undefined;
  if (there.isSocket() || there.isBlockDevice())
    throw new Error(
      `record.file: ${path} is a ${there.isSocket() ? 'socket' : 'block device'}: name a file, or set record.stdout alone`,
    );
  const fd = openUnread(path);
  const stream = openStreamSink(fd);
  return {
    write: (lines) => stream.write(lines),
    close() {
      stream.close();
      closeSync(fd);
    },
  };
}

function openUnread(path: string): number {
  try {
    return openSync(path, O_WRONLY | O_NONBLOCK | O_NOCTTY);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENXIO')) throw error;
    throw new Error(`record.file: ${path} is a pipe that nobody reads: start its reader first`, { cause: error });
  }
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
