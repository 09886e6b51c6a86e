import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { Problem } from './problem.ts';
import { openTail, untold, type RecordFiles, type Tail } from './record-tail.ts';

/** The record that is followed, and the boot whose lines are told. */
export interface FollowedRecord {
  /** Undefined where standard output alone is the record. */
  readonly file: string | undefined;
  /** Undefined where the record is no file, whatever its path leads to: a pipe would lose what is read here. */
  readonly files: RecordFiles | undefined;
  readonly boot: string;
  /** Number of the newest line. */
  sequence(): number;
}

/** The newest line that a reader knows. */
export interface KnownLine {
  /** Undefined where he names a number alone. */
  readonly boot: string | undefined;
  readonly sequence: number;
}

/** How often it is looked for lines, milliseconds. */
const lookEveryMs = 200;
/** Each of them holds a connection and an open file. */
const maxFollowers = 16;
/** Who takes nothing for so long makes room for others. */
const patienceMs = 60_000;
const knownLine = /^(?:(?<boot>[\w-]{1,64}):)?(?<sequence>\d{1,15})$/;
const noFile = 'The record of this sidecar is no file: read its standard output, or set record.file.';
const noLongerThere =
  'At the path of the record is no file that can be read. While it is rotated, ask again in a moment.';

/**
 * `GET /v1/events` (WIRE 1): the lines of this boot as they stand in the record, then those that follow. They are read from the file, so
 * that a slow reader holds up no call, and holds no memory.
 */
export class EventStream {
  readonly #record: FollowedRecord;
  #followers = 0;

  constructor(record: FollowedRecord) {
    this.#record = record;
  }

  /**
   * Answers with the lines behind `after`, until the reader leaves or the server closes. A number of another boot, or one that this boot
   * has not reached, is that of an earlier one: then all of them are new to the reader. A number alone that both boots have reached counts
   * as one of this boot. Throws a `Problem` before the answer has begun, and nothing after.
   */
  async follow(after: KnownLine, response: ServerResponse): Promise<void> {
    if (this.#followers >= maxFollowers) throw new Problem('too_many_followers');
    this.#followers += 1;
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    let tail: Tail | undefined;
    try {
      const { file, files, boot } = this.#record;
      const isOurs = (after.boot ?? boot) === boot;
      const from = isOurs && after.sequence <= this.#record.sequence() ? after.sequence : 0;
      if (file !== undefined && files !== undefined) tail = await openTail({ file, files, boot }, from);
      if (tail === undefined) throw new Problem('not_found', file === undefined ? noFile : noLongerThere);
      response.writeHead(200, {
        'Content-Type': 'application/x-ndjson',
        'Cache-Control': 'no-store',
        'X-Content-Type-Options': 'nosniff',
      });
      response.flushHeaders();
      if (after.boot !== undefined && !isOurs) response.write(untold(after.boot, after.sequence));
      await pass(tail, response, gone.signal);
    } catch (error) {
      // A reader that left is no fault; a record that cannot be read any more ends the stream, and the reader comes again.
      if (!response.headersSent && !gone.signal.aborted) throw error;
      response.destroy();
    } finally {
      this.#followers -= 1;
      await tail?.close();
    }
  }
}

async function pass(tail: Tail, response: ServerResponse, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const lines = await tail.read();
    if (lines === undefined) await sleep(lookEveryMs, undefined, { signal });
    else if (lines.length > 0 && !response.write(lines)) {
      await once(response, 'drain', { signal: AbortSignal.any([signal, AbortSignal.timeout(patienceMs)]) });
    }
  }
}

/** `after` of a request: `BOOT:SEQ`, both of the newest line that is known, or `SEQ` alone. Throws a `Problem`. */
export function readAfter(query: URLSearchParams): KnownLine {
  const [after = '0', ...more] = query.getAll('after');
  const { boot, sequence } = knownLine.exec(after)?.groups ?? {};
  if (more.length > 0 || sequence === undefined)
    throw new Problem(
      'request_invalid',
      'after is boot and seq of the last line that is known, as BOOT:SEQ, or its seq.',
    );
  return { boot, sequence: Number(sequence) };
}
