import { status, type ClientReadableStream } from '@grpc/grpc-js';
import { explain, type CallFailure } from './connection.ts';
import { MalformedAnswer } from './identity-unavailable.ts';

/** What a stream of the Workload API feeds. */
export interface StreamEnds<Message> {
  /** Starts the call anew. */
  open(): ClientReadableStream<Message>;
  /** Takes the full state; throws MalformedAnswer to have the message reported and ignored. */
  take(message: Message): void;
  /** A message was ignored, or the stream has ended and is opened again after so many milliseconds. */
  failed(failure: CallFailure, retryInMs: number | undefined): void;
}

const stepMs = 1000;
const longestMs = 30_000;

/**
 * Keeps a stream open for ever. After a stream that had delivered the first reconnection is made at once, then the wait grows by a
 * second up to 30 s. PermissionDenied always waits; InvalidArgument and Unimplemented would fail again, so they wait longest.
 */
export class HeldStream<Message> {
  readonly #ends: StreamEnds<Message>;
  #call: ClientReadableStream<Message> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  #failures = 0;
  #delivered = false;
  #hastyUsed = false;
  #mayHurry = false;

  constructor(ends: StreamEnds<Message>) {
    this.#ends = ends;
    this.#open();
  }

  /** The agent has just answered elsewhere: a stream that waits for it to come back is opened now. */
  hurry(): void {
    if (!this.#mayHurry || this.#closed) return;
    clearTimeout(this.#timer);
    this.#open();
  }

  /** Opens a stream that stands anew. One that waits for its time goes on to wait. */
  renew(): void {
    const call = this.#call;
    if (call === undefined || this.#closed) return;
    clearTimeout(this.#timer);
    this.#call = undefined;
    call.cancel();
    this.#open();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#call?.cancel();
  }

  #open(): void {
    this.#delivered = false;
    this.#mayHurry = false;
    const call = this.#ends.open();
    this.#call = call;
    // What was given up says nothing more.
    const isOurs = (): boolean => call === this.#call;
    call.on('data', (message: Message) => isOurs() && this.#take(message));
    // `status` tells every end; without a listener of `error` the process would die of the same news.
    call.on('error', () => undefined);
    call.on('status', ({ code, details }) => isOurs() && this.#ended(code, details));
  }

  #take(message: Message): void {
    if (this.#closed) return;
    this.#delivered = true;
    this.#failures = 0;
    // A stream that stands for a second after its message has earned the next reconnection at once; an agent that answers and
    // hangs up each time is not called in a tight loop.
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#hastyUsed = false;
    }, stepMs);
    try {
      this.#ends.take(message);
    } catch (error) {
      if (!(error instanceof MalformedAnswer)) throw error;
      this.#ends.failed({ reason: error.reason, detail: error.message }, undefined);
    }
  }

  #ended(code: status, details: string): void {
    clearTimeout(this.#timer);
    this.#call = undefined;
    if (this.#closed) return;
    const waitMs = this.#waitAfter(code);
    this.#mayHurry = code !== status.INVALID_ARGUMENT && code !== status.UNIMPLEMENTED;
    this.#ends.failed(explain(code, details), waitMs);
    this.#timer = setTimeout(() => this.#open(), waitMs);
  }

  #waitAfter(code: status): number {
    if (code === status.INVALID_ARGUMENT || code === status.UNIMPLEMENTED) return longestMs;
    if (this.#delivered && !this.#hastyUsed && code !== status.PERMISSION_DENIED) {
      this.#hastyUsed = true;
      return 0;
    }
    this.#failures += 1;
    return Math.min(this.#failures * stepMs, longestMs);
  }
}
