import { hash } from 'node:crypto';
import { Refusal } from '../refusal.ts';
import type { World } from '../world.ts';
import type { ChainHead } from './checkpoint.ts';
import { timestampOf } from './event.ts';
import type { EventSink } from './event-sink.ts';

/** What a write of the log came to; for metrics. */
export interface EventLogCounts {
  readonly written: number;
  readonly lost: number;
  /** Sequence number of the newest line on record. */
  readonly sequence: number;
}

const genesis = '0'.repeat(64);
/** Lines that wait for a record that cannot be written. Beyond that they are counted as lost: memory is bounded too. */
const maxWaiting = 50_000;
const retryMs = 200;
const newline = 0x0a;
/** How long an end may wait for company: a kill -9 may lose that much of the ends, never an admission. */
const lazyMs = 20;

interface Batch {
  readonly promise: Promise<void>;
  resolve(): void;
  reject(refusal: Refusal): void;
}

/** Port: hears when the record takes no more, and when it does again. */
export type TellWritable = (isWritable: boolean) => void;

/**
 * The record: JSON lines with a sequence number and the hash of the line before. The lines of one turn of the event loop are written
 * with one synchronous write, so that they are with the operating system before any of their calls is forwarded (W7). A failed or
 * short write refuses every call of the batch; lines that refuse nothing (ends, refusals) wait and are written later.
 */
export class EventLog {
  readonly boot: string;
  readonly #sink: EventSink;
  readonly #world: World;
  readonly #timestamp = timestampOf();
  #admissions: string[] = [];
  #others: string[] = [];
  #batch: Batch | undefined;
  #scheduled = false;
  #retry: NodeJS.Timeout | undefined;
  #lazy: NodeJS.Timeout | undefined;
  /** Lines are put together in one buffer that is used again: a new one for each batch costs a mapping of memory. */
  #buffer = Buffer.allocUnsafeSlow(262_144);
  #sequence = 0;
  #previous = genesis;
  #lost = 0;
  /** A checkpoint that found the record full. */
  #owed: ((head: ChainHead) => string) | undefined;
  #closed = false;
  #isFailing = false;
  readonly #tell: TellWritable;

  constructor(sink: EventSink, world: World, tell: TellWritable) {
    this.#sink = sink;
    this.#world = world;
    this.#tell = tell;
    this.boot = world.random(12).toString('base64url');
  }

  get counts(): EventLogCounts {
    return { written: this.#sequence, lost: this.#lost, sequence: this.#sequence };
  }

  /** Appends an event that allows nothing. It is written with the next batch, and again later if that fails. */
  append(fields: string): void {
    if (this.#others.length >= maxWaiting) this.#lost += 1;
    else this.#others.push(this.#stamped(fields));
    this.#schedule();
  }

  /** The same for an event that nobody waits for: it goes with the next batch, or alone after a moment. */
  appendLazily(fields: string): void {
    if (this.#others.length >= maxWaiting) this.#lost += 1;
    else this.#others.push(this.#stamped(fields));
    if (this.#scheduled || this.#closed) return;
    this.#lazy ??= setTimeout(() => this.#flushLazily(), lazyMs);
  }

  /** Appends an admission. Resolves when it is written; rejects `record_unavailable`, and then it is not in the record. */
  appendOrRefuse(fields: string): Promise<void> {
    if (this.#closed) return Promise.reject(new Refusal('record_unavailable'));
    this.#admissions.push(this.#stamped(fields));
    this.#schedule();
    this.#batch ??= newBatch();
    return this.#batch.promise;
  }

  /** Writes what waits. False when the record still cannot be written. */
  flush(): boolean {
    this.#scheduled = false;
    const batch = this.#batch;
    const admissions = this.#admissions;
    const others = this.#others;
    this.#batch = undefined;
    this.#admissions = [];
    if (admissions.length === 0 && others.length === 0) return true;
    // Ends and refusals first: they are older than the admissions of this turn.
    const { written, isWhole } = this.#write([...others, ...admissions]);
    this.#others = others.slice(written);
    if (isWhole) {
      batch?.resolve();
      this.#payCheckpoint();
      this.#noteWritable(true);
      return true;
    }
    batch?.reject(new Refusal('record_unavailable'));
    this.#noteWritable(false);
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      this.flush();
    }, retryMs);
    return false;
  }

  #noteWritable(isWritable: boolean): void {
    if (this.#isFailing === isWritable) this.#tell(isWritable);
    this.#isFailing = !isWritable;
  }

  /** Writes what waits, and right behind it a line about the newest of them; while the record cannot be written, as soon as it can. */
  checkpoint(make: (head: ChainHead) => string): void {
    if (this.#closed) return;
    if (this.flush()) this.#writeCheckpoint(make);
    else this.#owed = make;
  }

  /** Before the calls of the batch go on: what waited for the record may be minutes old, and would look as if nobody had signed it. */
  #payCheckpoint(): void {
    const make = this.#owed;
    this.#owed = undefined;
    if (make !== undefined) this.#writeCheckpoint(make);
  }

  #writeCheckpoint(make: (head: ChainHead) => string): void {
    const head = { boot: this.boot, sequence: this.#sequence, digest: this.#previous };
    this.#others.push(this.#stamped(make(head)));
    this.flush();
  }

  /** Whether the record takes lines: for readiness. */
  get isWritable(): boolean {
    return !this.#closed && this.#retry === undefined;
  }

  close(): void {
    this.flush();
    clearTimeout(this.#retry);
    clearTimeout(this.#lazy);
    this.#lost += this.#others.length;
    this.#closed = true;
    this.#sink.close();
  }

  #flushLazily(): void {
    this.#lazy = undefined;
    this.flush();
  }

  #stamped(fields: string): string {
    return `"at":"${this.#timestamp(this.#world.now())}",${fields}}`;
  }

  #schedule(): void {
    if (this.#scheduled || this.#closed) return;
    this.#scheduled = true;
    setImmediate(() => this.flush());
  }

  /** Returns how many of the entries stand in the record as whole lines. Sequence and chain stand at the last of them. */
  #write(entries: readonly string[]): { written: number; isWhole: boolean } {
    const ends: number[] = [];
    const digests: string[] = [];
    let previous = this.#previous;
    let end = 0;
    for (const [at, entry] of entries.entries()) {
      const line = `{"seq":${this.#sequence + at + 1},"boot":"${this.boot}","prev":"${previous}",${entry}`;
      previous = hash('sha256', line, 'hex');
      // A character is at most 3 bytes of UTF-8.
      const most = line.length * 3 + 1;
      if (end + most > this.#buffer.length) this.#grow(end, most);
      end += this.#buffer.write(line, end, 'utf8');
      this.#buffer[end] = newline;
      end += 1;
      ends.push(end);
      digests.push(previous);
    }
    const { bytes, isWhole } = this.#sink.write(this.#buffer.subarray(0, end));
    const whole = isWhole ? entries.length : ends.filter((bound) => bound <= bytes).length;
    this.#sequence += whole;
    this.#previous = digests[whole - 1] ?? this.#previous;
    return { written: whole, isWhole };
  }

  #grow(used: number, needed: number): void {
    const larger = Buffer.allocUnsafeSlow((used + needed) * 2);
    this.#buffer.copy(larger, 0, 0, used);
    this.#buffer = larger;
  }
}

function newBatch(): Batch {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // Whoever waits handles the rejection; a batch whose callers all left must not end the process.
  promise.catch(() => undefined);
  return { promise, resolve, reject };
}
