import { open, stat, type FileHandle } from 'node:fs/promises';

/** Reads a record from its beginning on, and goes on behind its end; over files, where it is rotated. */
export interface Tail {
  /** Whole lines, perhaps none in this piece of the file; undefined at its end. Rejects where the file cannot be read. */
  read(): Promise<string | undefined>;
  close(): Promise<void>;
}

const pieceBytes = 65_536;
/** Longer than any line of ours: what has no end by then is no record. */
const maxLineBytes = 4 * 1024 * 1024;
const lineFeed = 0x0a;
const head = /^\{"seq":(?<seq>\d{1,15}),"boot":"(?<boot>[^"]*)"/;

/** The lines of one boot behind `after`; undefined where the path leads to no file: a pipe would lose what is read here. */
export async function openTail(file: string, boot: string, after: number): Promise<Tail | undefined> {
  const found = await stat(file);
  return found.isFile() ? new RecordTail(file, await open(file, 'r'), boot, after) : undefined;
}

class RecordTail implements Tail {
  readonly #file: string;
  readonly #boot: string;
  #piece = Buffer.allocUnsafe(pieceBytes);
  #open: FileHandle;
  /** What the path leads to by now, while the rest of the one before is read. */
  #next: FileHandle | undefined;
  /** Behind the last whole line: a fragment may be cut off again, and another line stand in its place. */
  #position = 0;
  /** Sequence number of the newest line that was told. */
  #newest: number;

  constructor(file: string, handle: FileHandle, boot: string, after: number) {
    this.#file = file;
    this.#open = handle;
    this.#boot = boot;
    this.#newest = after;
  }

  async read(): Promise<string | undefined> {
    const { bytesRead } = await this.#open.read(this.#piece, 0, this.#piece.length, this.#position);
    const end = this.#piece.subarray(0, bytesRead).lastIndexOf(lineFeed) + 1;
    if (end > 0) {
      this.#position += end;
      return this.#wanted(this.#piece.toString('utf8', 0, end));
    }
    if (bytesRead < this.#piece.length) return (await this.#goOn()) ? '' : undefined;
    if (this.#piece.length >= maxLineBytes) throw new Error('a line of the record has no end');
    this.#piece = Buffer.allocUnsafe(this.#piece.length * 2);
    return '';
  }

  async close(): Promise<void> {
    await Promise.allSettled([this.#open.close(), this.#next?.close()]);
  }

  /** Looks what comes behind the end of the file; false while that is nothing. */
  async #goOn(): Promise<boolean> {
    if (this.#next !== undefined) {
      await this.#open.close();
      this.#open = this.#next;
      this.#next = undefined;
      this.#position = 0;
      return true;
    }
    const now = await this.#open.stat();
    if (now.size < this.#position) {
      // Copied and truncated: lines that were told already are known by their numbers.
      this.#position = 0;
      return true;
    }
    const there = await stat(this.#file).catch(() => undefined);
    // The sidecar may still write to the one that was moved away, until it has begun the new one.
    if (there === undefined || !there.isFile() || there.size === 0) return false;
    if (there.ino === now.ino && there.dev === now.dev) return false;
    this.#next = await open(this.#file, 'r');
    return true;
  }

  #wanted(text: string): string {
    let lines = '';
    for (const line of text.split('\n')) {
      const { seq, boot } = head.exec(line)?.groups ?? {};
      if (boot !== this.#boot || Number(seq) <= this.#newest || !isWhole(line)) continue;
      this.#newest = Number(seq);
      lines += `${line}\n`;
    }
    return lines;
  }
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
