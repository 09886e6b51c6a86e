import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { Problem } from './problem.ts';
import { openTail, type Tail } from './record-tail.ts';

/** The record that is followed, and the boot whose lines are told. */
export interface FollowedRecord {
  /** Undefined where standard output alone is the record. */
  readonly file: string | undefined;
  readonly boot: string;
  /** Number of the newest line. */
  sequence(): number;
}

/** How often it is looked for lines, milliseconds. */
const lookEveryMs = 200;
/** Each of them holds a connection and an open file. */
const maxFollowers = 16;
/** Who takes nothing for so long makes room for others. */
const patienceMs = 60_000;
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
   * Answers with the lines behind `after`, until the reader leaves or the server closes. A number that this boot has not reached is that
   * of an earlier one: then all of them are new to the reader. Throws a `Problem` before the answer has begun, and nothing after.
   */
  async follow(after: number, response: ServerResponse): Promise<void> {
    if (this.#followers >= maxFollowers) throw new Problem('too_many_followers');
    this.#followers += 1;
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    let tail: Tail | undefined;
    try {
      const { file, boot } = this.#record;
      const from = after > this.#record.sequence() ? 0 : after;
      tail = file === undefined ? undefined : await openTail(file, boot, from).catch(() => undefined);
      if (tail === undefined) throw new Problem('not_found', file === undefined ? noFile : noLongerThere);
      response.writeHead(200, {
        'Content-Type': 'application/x-ndjson',
        'Cache-Control': 'no-store',
        'X-Content-Type-Options': 'nosniff',
      });
      response.flushHeaders();
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

/** `after` of a request: a sequence number, 0 without. Throws a `Problem`. */
export function readAfter(query: URLSearchParams): number {
  const [after = '0', ...more] = query.getAll('after');
  if (more.length > 0 || !/^\d{1,15}$/.test(after))
    throw new Problem('request_invalid', 'after is the sequence number of the last line that is known.');
  return Number(after);
}
