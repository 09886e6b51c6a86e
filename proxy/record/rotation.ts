import { faultFacts, type ProcessLog } from '../process-log.ts';
import type { World } from '../world.ts';
import type { FileSink } from './event-sink.ts';

/** How often it is looked whether the path still leads to the record, milliseconds. */
const lookEveryMs = 1000;
/** A file that cannot be opened is tried at each look, and told of this often. */
const tellEveryMs = 60_000;
const cutByOthers =
  'somebody else made the record shorter, and what was written meanwhile may be missing; rotate it by moving the file';

/** Port: counts what came of opening the record anew. */
export type TellReopened = (outcome: 'reopened' | 'failed') => void;

/**
 * Keeps the record where its path leads, whoever moves the file away: at SIGHUP at once, else when two looks in a row found it
 * elsewhere. Where the new file cannot be opened the record goes on in the one it has, and no call is refused for it.
 */
export class Rotation {
  readonly #file: FileSink;
  readonly #log: ProcessLog;
  readonly #world: Pick<World, 'monotonic'>;
  readonly #tell: TellReopened;
  readonly #timer: NodeJS.Timeout;
  #wasElsewhere = false;
  #silentUntilMs = 0;
  #isClosed = false;

  constructor(file: FileSink, log: ProcessLog, world: Pick<World, 'monotonic'>, tell: TellReopened) {
    this.#file = file;
    this.#log = log;
    this.#world = world;
    this.#tell = tell;
    // Not at the first look: between the move and the new file of its own, logrotate would find ours in the way and move that too.
    this.#timer = setInterval(() => this.#follow(this.#wasElsewhere), lookEveryMs).unref();
  }

  /** Somebody says that the file was moved. Never throws. */
  now(): void {
    this.#follow(true);
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
  }

  /** @param isSure what somebody says, or the second look in a row. */
  #follow(isSure: boolean): void {
    // A hang-up while the sidecar ends must not begin a file that nothing is written to.
    if (this.#isClosed) return;
    try {
      if (this.#file.wasCut()) this.#log.warn(cutByOthers);
      this.#wasElsewhere = !this.#file.isInPlace();
      if (!this.#wasElsewhere || !isSure) return;
      this.#file.reopen();
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#wasElsewhere = false;
    this.#silentUntilMs = 0;
    this.#tell('reopened');
    this.#log.info('the record goes on in a new file');
  }

  #fail(error: unknown): void {
    this.#tell('failed');
    const now = this.#world.monotonic();
    if (now < this.#silentUntilMs) return;
    this.#silentUntilMs = now + tellEveryMs;
    this.#log.error(faultFacts(error), 'the record cannot be opened anew; it goes on in the file it has');
  }
}
