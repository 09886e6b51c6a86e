import type { FleetSettings } from '../../config/fleet.ts';
import type { ProcessLog } from '../process-log.ts';
import type { CutOffs } from '../tasks/cut-offs.ts';
import { Freshness, notYet } from '../tasks/freshness.ts';
import type { World } from '../world.ts';
import { FleetMerge, type Lacking } from './fleet-merge.ts';
import { StoreSession } from './fleet-store.ts';
import type { RevokedElsewhere } from './kill-switch.ts';
import { storeFacts, wordOf } from './store-fault.ts';

/** Whether the store has all that was revoked here. `pending`: it does not answer; it is told when it does. */
export type Shared = 'stored' | 'pending';

export interface FleetParts {
  readonly settings: FleetSettings;
  readonly cutOffs: CutOffs;
  /** Does here what was revoked elsewhere. Returns whether it could be kept for a restart. */
  readonly take: (revoked: readonly RevokedElsewhere[]) => boolean;
  /** Cuts what goes on under a credential, and the requests of callers: whose they are may have been revoked. */
  readonly cutStreams: () => void;
  /** Revocations that were told to the store, and taken from it. */
  readonly counts: { readonly sent: { value: number }; readonly taken: { value: number } };
  readonly world: World;
  readonly log: ProcessLog;
}

/** The whole is compared at least so often, whatever the store says of changes; milliseconds. */
const wholeEveryMs = 10_000;

/**
 * Keeps the revocations of this sidecar and of all others the same, by a store that all share. It asks in short steps: the answer is both
 * the news and the sign that there is no other. While there is none, for longer than `max_silence`, nothing is served that could have
 * been revoked.
 */
export class Fleet {
  readonly #parts: FleetParts;
  readonly #merge: FleetMerge;
  /** Whether the store was heard of lately; also where it is served without. */
  readonly #touch: Freshness;
  readonly #stepMs: number;
  readonly #answerMs: number;
  readonly #retryMs: number;
  /** Longer than another sidecar takes to come back after the same outage, and to tell what was revoked there meanwhile. */
  readonly #settleMs: number;
  readonly #sharedWithin: number;
  #session: StoreSession | undefined;
  #attempts = 0;
  #mark: string | undefined;
  #comparedAt = -Infinity;
  #heardAt = -Infinity;
  #settledAt = Infinity;
  #isSilent = true;
  /** The troubles that were logged since all was well: what goes on is told once, also where two of them take turns. */
  readonly #told = new Set<string>();
  /** Revocations here, and how many of them the store is known to have. */
  #wanted = 1;
  #done = 0;
  #waiting: { readonly wanted: number; readonly resolve: (shared: Shared) => void }[] = [];
  #wake: () => void = () => undefined;
  #silence: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(parts: FleetParts) {
    const { max_silence: silence } = parts.settings;
    this.#parts = parts;
    this.#merge = new FleetMerge(parts.cutOffs);
    this.#touch = new Freshness(parts.world.monotonic, notYet);
    this.#stepMs = Math.min(200, silence / 10);
    this.#retryMs = Math.min(100, silence / 20);
    this.#answerMs = Math.min(1000, silence / 4);
    this.#settleMs = Math.min(2000, silence / 2);
    this.#sharedWithin = 2 * this.#answerMs;
  }

  /** Whether the store was heard of within `max_silence`. */
  get isInTouch(): boolean {
    return this.#touch.isFresh;
  }

  start(): void {
    void this.#run();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#silence);
    this.#session?.close();
    this.#wake();
    this.#settleWaiting();
  }

  /** Something was revoked here: it is told at once, and not with the next step. */
  tell(): void {
    this.#wanted += 1;
    this.#wake();
  }

  /** Waits, for about half of `max_silence`, until the store has all that was revoked here. */
  shared(): Promise<Shared> {
    if (this.#done >= this.#wanted) return Promise.resolve('stored');
    const { promise, resolve } = Promise.withResolvers<Shared>();
    const timer = setTimeout(() => resolve('pending'), this.#sharedWithin).unref();
    this.#waiting.push({ wanted: this.#wanted, resolve });
    return promise.finally(() => {
      clearTimeout(timer);
      this.#waiting = this.#waiting.filter((one) => one.resolve !== resolve);
    });
  }

  async #run(): Promise<void> {
    const { monotonic } = this.#parts.world;
    while (!this.#isClosed) {
      const [startedAt, wanted] = [monotonic(), this.#wanted];
      let everyMs = this.#stepMs;
      try {
        await this.#step();
      } catch (error) {
        this.#fail(error);
        everyMs = this.#retryMs;
      }
      if (!this.#isClosed && wanted === this.#wanted) await this.#pause(Math.max(0, startedAt + everyMs - monotonic()));
    }
  }

  /** One comparison; of the whole where anything may have changed. */
  async #step(): Promise<void> {
    const { monotonic } = this.#parts.world;
    const session = (this.#session ??= await this.#open());
    const wanted = this.#wanted;
    // What the answer says was so when it was asked for, and not when it came.
    const askedAt = monotonic();
    const mark = await session.mark();
    const isWhole = mark !== this.#mark || wanted !== this.#done || askedAt - this.#comparedAt >= wholeEveryMs;
    if (!isWhole) this.#heard(askedAt);
    let came = isWhole ? await this.#compare(session, askedAt) : 'same';
    // What was told counts when it was read again.
    if (came === 'told') came = await this.#compare(session, askedAt);
    if (came !== 'same') return;
    this.#done = wanted;
    this.#settleWaiting();
    if (!this.#isSilent) this.#told.clear();
  }

  /** Takes what is new and tells what is lacking. */
  async #compare(session: StoreSession, askedAt: number): Promise<'same' | 'told' | 'refused'> {
    const { world, counts, log, take } = this.#parts;
    const content = await session.content();
    const { revoked, strange } = this.#merge.learn(content, world.now());
    if (strange > 0) log.warn({ entries: strange }, 'the store of the fleet holds entries that are none');
    if (revoked.length > 0) {
      counts.taken.value += revoked.length;
      if (!take(revoked)) log.error('revocations of the fleet cannot be kept for a restart');
    }
    // Before anything is told: all that the store has is in force, whatever it does not take.
    this.#heard(askedAt);
    const lacking = this.#merge.lackedBy(content);
    if (lacking.cutOffs.length + lacking.txns.length > 0) return this.#send(session, lacking);
    this.#mark = content.mark;
    this.#comparedAt = askedAt;
    return 'same';
  }

  /** What the store refuses stays pending: it is full, or its disk is. All that it has was heard, and goes on to be. */
  async #send(session: StoreSession, { cutOffs, txns }: Lacking): Promise<'told' | 'refused'> {
    const { world, counts } = this.#parts;
    this.#mark = undefined;
    try {
      await session.add(cutOffs, txns, world.random(8).toString('hex'));
    } catch (error) {
      if (wordOf(error) === undefined) throw error;
      this.#complain(error, 'the store of the fleet refuses what was revoked');
      return 'refused';
    }
    counts.sent.value += cutOffs.length + txns.length;
    return 'told';
  }

  /**
   * What is not known by now was revoked after the last answer. After a short pause, all who could know it tell it within `max_silence`
   * from then. After a long one they may still be on their way to the store: to trust it at once would let in whom it does not know yet.
   */
  #heard(askedAt: number): void {
    const { cutOffs, log, settings, world } = this.#parts;
    const { max_silence: maxSilence } = settings;
    if (askedAt - this.#heardAt > maxSilence / 2) this.#settledAt = askedAt + this.#settleMs;
    this.#heardAt = askedAt;
    if (askedAt < this.#settledAt) return;
    const untilMs = askedAt + maxSilence;
    cutOffs.freshness.prolong(untilMs);
    this.#touch.prolong(untilMs);
    clearTimeout(this.#silence);
    this.#silence = this.#watchSilence(Math.max(0, untilMs - world.monotonic()));
    if (this.#isSilent) log.info('the store of the fleet says what was revoked');
    this.#isSilent = false;
  }

  #watchSilence(ms: number): NodeJS.Timeout {
    // A timer may come a moment before the clock says so.
    return setTimeout(() => {
      if (this.isInTouch) this.#silence = this.#watchSilence(1);
      else this.#fallSilent();
    }, ms).unref();
  }

  #fallSilent(): void {
    const { cutOffs, cutStreams, log } = this.#parts;
    this.#isSilent = true;
    log.warn({ served: cutOffs.isCurrent }, 'the store of the fleet is silent');
    if (!cutOffs.isCurrent) cutStreams();
  }

  async #open(): Promise<StoreSession> {
    this.#attempts += 1;
    const session = await StoreSession.open(this.#parts.settings, this.#attempts, this.#answerMs);
    if (this.#isClosed) session.close();
    return session;
  }

  #fail(error: unknown): void {
    this.#session?.close();
    this.#session = undefined;
    // Another server may hold something else under the same mark.
    this.#mark = undefined;
    this.#complain(error, 'the store of the fleet does not answer');
  }

  #complain(error: unknown, what: string): void {
    const facts = storeFacts(error);
    const told = JSON.stringify([what, facts]);
    if (!this.#told.has(told) && !this.#isClosed) this.#parts.log.warn(facts, what);
    this.#told.add(told);
  }

  #settleWaiting(): void {
    for (const { wanted, resolve } of this.#waiting) {
      if (wanted <= this.#done) resolve('stored');
      else if (this.#isClosed) resolve('pending');
    }
  }

  async #pause(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms).unref();
    this.#wake = resolve;
    await promise;
    clearTimeout(timer);
  }
}
