import type { FileHandle } from 'node:fs/promises';
import type { WrittenFile } from '../record/written-files.ts';
import { findFile } from './record-file.ts';

/** Reads a record from its beginning on, and goes on behind its end; over files, where it is rotated. */
export interface Tail {
  /** Whole lines, perhaps none in this piece of the file; undefined at its end. Rejects where the file cannot be read. */
  read(): Promise<string | undefined>;
  close(): Promise<void>;
}

const pieceBytes = 65_536;
/** Longer than any line of ours: what has no end by then is no record. */
const maxLineBytes = 4 * 1024 * 1024;
/** So often a file is looked for before it counts as gone. */
const looks = 3;
const lineFeed = 0x0a;
const head = /^\{"seq":(?<seq>\d{1,15}),"boot":"(?<boot>[^"]*)"/;

/** Port: the files that one boot wrote. */
export interface RecordFiles {
  /** The file in which the line behind `sequence` stands, or will stand. */
  find(sequence: number): WrittenFile;
}

/** The record of one boot: its path, and the files that it went to. */
export interface TailedRecord {
  readonly file: string;
  readonly files: RecordFiles;
  readonly boot: string;
}

/** The lines of a boot behind `after`; undefined where none of its files is found. */
export async function openTail(record: TailedRecord, after: number): Promise<Tail | undefined> {
  const tail = new RecordTail(record, after);
  return (await tail.begin()) ? tail : undefined;
}

/**
 * Which files follow one another is told by the sidecar that writes them, and never guessed from what the path leads to: a reader that
 * stalls while the record is rotated twice would miss a whole file. Numbers that are not found all the same are told as that.
 */
class RecordTail implements Tail {
  readonly #path: string;
  readonly #boot: string;
  #piece = Buffer.allocUnsafe(pieceBytes);
  /** The file that is read, or looked for while it is not open. */
  #file: WrittenFile;
  #open: FileHandle | undefined;
  /** Whether nothing is written to it any more, and only its rest is read. */
  #isLeft = false;
  /** How often it was looked for in vain. */
  #misses = 0;
  /** Behind the last whole line: a fragment may be cut off again, and another line stand in its place. */
  #position = 0;
  /** Sequence number of the newest line that was told. */
  #newest: number;

  constructor({ file, files, boot }: TailedRecord, after: number) {
    this.#path = file;
    this.#file = files.find(after);
    this.#boot = boot;
    this.#newest = after;
  }

  /** Whether a file is found to begin with. */
  async begin(): Promise<boolean> {
    for (let look = 0; look < looks && this.#open === undefined; look += 1) await this.#find();
    return this.#open !== undefined;
  }

  async read(): Promise<string | undefined> {
    if (this.#open === undefined) return (await this.#find()) ? '' : undefined;
    const { bytesRead } = await this.#open.read(this.#piece, 0, this.#piece.length, this.#position);
    const end = this.#piece.subarray(0, bytesRead).lastIndexOf(lineFeed) + 1;
    if (end > 0) {
      this.#position += end;
      return this.#wanted(this.#piece.toString('utf8', 0, end));
    }
    if (bytesRead < this.#piece.length) return (await this.#goOn(this.#open)) ? '' : undefined;
    if (this.#piece.length >= maxLineBytes) throw new Error('a line of the record has no end');
    this.#piece = Buffer.allocUnsafe(this.#piece.length * 2);
    return '';
  }

  async close(): Promise<void> {
    await Promise.allSettled([this.#open?.close()]);
  }

  /** Opens the file, or the next that is there. A name may be missed while files are renamed, so none is given up at once. */
  async #find(): Promise<boolean> {
    const found = await findFile(this.#path, this.#file);
    if (found === undefined) return false;
    this.#misses += 1;
    if (found.file !== this.#file && this.#misses < looks) {
      await found.handle.close();
      return false;
    }
    this.#open = found.handle;
    this.#file = found.file;
    this.#isLeft = false;
    this.#misses = 0;
    this.#position = 0;
    return true;
  }

  /** Looks what comes behind the end of the file; false while that is nothing. */
  async #goOn(handle: FileHandle): Promise<boolean> {
    if ((await handle.stat()).size < this.#position) {
      // Copied and truncated: lines that were told already are known by their numbers.
      this.#position = 0;
      return true;
    }
    const { next } = this.#file;
    if (next === undefined) return false;
    if (!this.#isLeft) {
      // It may have been written to since its end was read, and before it was left.
      this.#isLeft = true;
      return true;
    }
    this.#open = undefined;
    this.#file = next;
    await handle.close();
    return true;
  }

  #wanted(text: string): string {
    let lines = '';
    for (const line of text.split('\n')) {
      const { seq, boot } = head.exec(line)?.groups ?? {};
      if (boot !== this.#boot || Number(seq) <= this.#newest || !isWhole(line)) continue;
      if (Number(seq) > this.#newest + 1) lines += untold(this.#boot, this.#newest, Number(seq));
      this.#newest = Number(seq);
      lines += `${line}\n`;
    }
    return lines;
  }
}

/**
 * Stands in the stream, and never in the record, where lines are not told: files of it were compressed, moved elsewhere or removed, or
 * it was cut. @param before number of the line that is told next; undefined where that is of another boot.
 */
export function untold(boot: string, after: number, before?: number): string {
  return `${JSON.stringify({ event: 'lines.untold', boot, after, before })}\n`;
}

/** A write that broke off leaves a fragment, and the line stands behind it again. */
function isWhole(line: string): boolean {
  try {
    JSON.parse(line);
    return true;
  } catch {
    return false;
  }
}
