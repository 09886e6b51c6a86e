import { createReadStream } from 'node:fs';
import { EventChains, type ChainReport, type Known } from './event-chains.ts';
import { couldBeginProcessLogLine, isProcessLogLine } from './event-line.ts';

/** What the chains say, and what was not taken for a part of them. */
export interface RecordReport extends ChainReport {
  /** Lines of the process's log. */
  readonly passedOver: number;
}

/** Far above any event; a longer "line" is no record, and is not kept in memory. */
const maxLineBytes = 1024 * 1024;
const lineFeed = 0x0a;

/** How files of the usual compressors begin (gzip, zstd, xz, bzip2), in hex. No line of a record begins so. */
const compressed = ['1f8b', '28b52ffd', 'fd377a585a', '425a68'];

/** A file that has to be unpacked before it can be read. It says nothing of the record in it, least of all that it is broken. */
export class CompressedRecord extends Error {}

/** What a reader of lines is told: a line without its line feed, and whether there was one. */
export type LineTaker = (line: Buffer, isTerminated: boolean) => void;

/**
 * Checks the record that these files hold, in the order given (a rotated file before the one that follows it): each boot's sequence,
 * hash chain and signatures. Reads the files as streams. Rejects with the system's error where one cannot be read, with
 * `CompressedRecord` where one is compressed.
 */
export async function verifyEvents(
  files: readonly string[],
  known: Partial<Omit<Known, 'place'>> = {},
): Promise<RecordReport> {
  const { sequence, bundle, spiffeId } = known;
  const chains = new EventChains({ sequence, bundle, spiffeId, place: { file: files.at(-1) ?? '', line: 0 } });
  let passedOver = 0;
  for (const file of files) {
    let number = 0;
    await readLines(file, (line, isTerminated) => {
      number += 1;
      // Where both streams are collected, the last line that a process began may be either.
      if (isProcessLogLine(line) || (!isTerminated && couldBeginProcessLogLine(line))) passedOver += 1;
      else chains.take({ file, line: number }, line, isTerminated);
    });
  }
  return { ...chains.finish(), passedOver };
}

/** Gives each line of a file, of too long ones only the beginning. The buffer is good during the call. */
async function readLines(file: string, take: LineTaker): Promise<void> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  const stream = createReadStream(file, { highWaterMark: 1024 * 1024 });
  let isFirst = true;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    const beginning = isFirst ? chunk.toString('hex', 0, 5) : '';
    if (compressed.some((mark) => beginning.startsWith(mark))) throw new CompressedRecord(file);
    isFirst = false;
    let from = 0;
    for (let to = chunk.indexOf(lineFeed); to >= 0; to = chunk.indexOf(lineFeed, from)) {
      const part = chunk.subarray(from, to);
      // Of a line that is too long the end is left out as well, else the two would look like a shorter line.
      if (restBytes <= maxLineBytes) rest.push(part);
      take(restBytes === 0 ? part : Buffer.concat(rest), true);
      rest = [];
      restBytes = 0;
      from = to + 1;
    }
    if (from === chunk.length || restBytes > maxLineBytes) continue;
    rest.push(chunk.subarray(from));
    restBytes += chunk.length - from;
  }
  if (restBytes > 0) take(Buffer.concat(rest), false);
}
