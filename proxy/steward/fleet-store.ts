import type { Redis } from 'iovalkey';
import { z } from 'zod';
import type { FleetSettings } from '../../config/fleet.ts';
import { maxCutOffs } from '../tasks/cut-offs.ts';
import { maxRevokedTxns } from '../tasks/revoked-txns.ts';
import type { StoreEntry } from './fleet-entry.ts';
import { brief, connectStore, type StoreConnection, within } from './store-client.ts';
import { StoreUnfit, wordOf } from './store-fault.ts';

/** What the store holds, newest first, and at most one more of each than a sidecar keeps. */
export interface StoreContent {
  /** Tells this content from any other. */
  readonly mark: string;
  readonly cutOffs: readonly StoreEntry[];
  readonly txns: readonly StoreEntry[];
}

/** Far above what as many entries as are kept take; a key that grew beyond is not ours, and is not read. */
const maxKeyBytes = 67_108_864;
/** Of the answers with all entries, and the time of each. */
const whole = { bytes: 2 * maxKeyBytes, items: 2 * (maxCutOffs + maxRevokedTxns + 2) + brief.items };
/** Of a sign of life, milliseconds: it only has to reach the replicas. */
const lifeKeptMs = 60_000;

const hello = z.array(z.unknown());
const flat = z.array(z.string());
const sizes = z.tuple([z.string().max(100).nullable(), z.int(), z.int()]);

/**
 * One connection to the store (Valkey, or Redis from 6.2), used until something fails and never mended: a new one may lead to another
 * server, and what is known of the old one says nothing of it. Everything takes at most `answerMs`, and rejects then.
 */
export class StoreSession {
  readonly #connection: StoreConnection;
  readonly #redis: Redis;
  readonly #replicas: number;
  readonly #keys: { readonly mark: string; readonly cutOffs: string; readonly txns: string; readonly life: string };
  readonly #answerMs: number;

  private constructor(connection: StoreConnection, { replicas, prefix }: FleetSettings, answerMs: number) {
    this.#connection = connection;
    this.#redis = connection.redis;
    this.#replicas = replicas;
    this.#answerMs = answerMs;
    const key = (name: string): string => `${prefix}:revoked:${name}`;
    this.#keys = { mark: key('mark'), cutOffs: key('cut-offs'), txns: key('tasks'), life: key('life') };
  }

  /** @param attempt counts up: another sentinel is asked first each time. */
  static async open(settings: FleetSettings, attempt: number, answerMs: number): Promise<StoreSession> {
    return new StoreSession(await connectStore(settings, attempt, answerMs), settings, answerMs);
  }

  /** The mark of what the store holds now, by a server that is the master and has the replicas that are asked for. */
  async mark(): Promise<string> {
    const { mark, cutOffs, txns } = this.#keys;
    this.#connection.expect(brief);
    // No transaction: a server whose memory is full refuses even those that only read.
    return markOf(await this.#ask(this.#redis.pipeline().get(mark).zcard(cutOffs).zcard(txns).exec()));
  }

  /** All of it, and its mark first: what changes while the rest is read has another one, and is read again. */
  async content(): Promise<StoreContent> {
    const { mark, cutOffs, txns } = this.#keys;
    this.#connection.expect(brief);
    const used = await within(
      Promise.all([this.#redis.memory('USAGE', cutOffs), this.#redis.memory('USAGE', txns)]),
      this.#answerMs,
    );
    if (used.some((bytes) => (bytes ?? 0) > maxKeyBytes)) throw new StoreUnfit('its keys are too large');
    this.#connection.expect(whole);
    const results = await this.#ask(
      this.#redis
        .pipeline()
        .get(mark)
        .zcard(cutOffs)
        .zcard(txns)
        .zrange(cutOffs, 0, maxCutOffs, 'REV', 'WITHSCORES')
        .zrange(txns, 0, maxRevokedTxns, 'REV', 'WITHSCORES')
        .exec(),
    );
    return { mark: markOf(results.slice(0, 3)), cutOffs: entriesOf(results[3]), txns: entriesOf(results[4]) };
  }

  /**
   * Adds entries. Of one that is there the later time stays, whoever comes first. @param mark one that nobody used before.
   * @throws an error that `wordOf` knows where the server refuses to take them.
   */
  async add(cutOffs: readonly StoreEntry[], txns: readonly StoreEntry[], mark: string): Promise<void> {
    const keys = this.#keys;
    this.#connection.expect(brief);
    const change = this.#redis.multi();
    if (cutOffs.length > 0) change.call('zadd', keys.cutOffs, 'GT', ...flatten(cutOffs));
    if (txns.length > 0) change.call('zadd', keys.txns, 'GT', ...flatten(txns));
    // Nobody reads beyond these. By their age nothing is removed: the clock of one sidecar that is ahead would lift them for all.
    change.zremrangebyrank(keys.cutOffs, 0, -2 * maxCutOffs);
    change.zremrangebyrank(keys.txns, 0, -2 * maxRevokedTxns);
    change.set(keys.mark, mark);
    resultsOf(await within(change.exec(), this.#answerMs));
  }

  close(): void {
    this.#connection.close();
  }

  /** An answer counts only from the master. One that lost its replicas may have been replaced, and not know it. */
  async #ask(question: Promise<unknown>): Promise<readonly unknown[]> {
    const [reply, acked, results] = await within(
      Promise.all([this.#redis.call('hello'), this.#reachReplicas(), question]),
      this.#answerMs,
    );
    if (factOf(reply, 'role') !== 'master') throw new StoreUnfit('it is not the master');
    if (acked < this.#replicas) throw new StoreUnfit('too few replicas take what it is told');
    return resultsOf(results);
  }

  async #reachReplicas(): Promise<number> {
    if (this.#replicas === 0) return 0;
    const { life } = this.#keys;
    try {
      return await this.#acked(this.#redis.set(life, '1', 'PX', lifeKeptMs));
    } catch (error) {
      if (wordOf(error) !== 'OOM') throw error;
      // A server that is full still tells its replicas what is published, which needs no key. In a cluster it tells them by another way,
      // and WAIT would count those that took nothing.
      const [acked, reply] = await Promise.all([
        this.#acked(this.#redis.publish(life, '1')),
        this.#redis.call('hello'),
      ]);
      if (factOf(reply, 'mode') === 'cluster') throw error;
      return acked;
    }
  }

  async #acked(write: Promise<unknown>): Promise<number> {
    const [, acked] = await Promise.all([write, this.#redis.wait(this.#replicas, Math.floor(this.#answerMs / 2))]);
    return acked;
  }
}

/** The results of a transaction; the first that failed is thrown. */
function resultsOf(results: unknown): readonly unknown[] {
  const pairs = z.array(z.tuple([z.unknown(), z.unknown()])).parse(results);
  for (const [error] of pairs) if (error !== null) throw error;
  return pairs.map(([, result]) => result);
}

function markOf(results: readonly unknown[]): string {
  const { success, data } = sizes.safeParse(results);
  if (!success) throw new StoreUnfit('its keys are not those of a fleet');
  return data.join('/');
}

/** What a server says of itself. */
function factOf(reply: unknown, name: 'mode' | 'role'): unknown {
  const facts = hello.parse(reply);
  return facts[facts.indexOf(name) + 1];
}

/** `[member, score, member, score …]`. */
function entriesOf(result: unknown): readonly StoreEntry[] {
  const texts = flat.parse(result);
  return Array.from({ length: texts.length / 2 }, (_, at) => ({
    member: texts[2 * at] ?? '',
    score: Number(texts[2 * at + 1]?.replace('inf', 'Infinity')),
  }));
}

/** As `ZADD` takes them. */
function flatten(entries: readonly StoreEntry[]): readonly (string | number)[] {
  return entries.flatMap(({ member, score }) => [score, member]);
}
