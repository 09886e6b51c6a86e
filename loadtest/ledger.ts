/**
 * `node loadtest/ledger.ts`: the memory ledger of replays with a million live ids. Prints one JSON object: bytes an entry, time of a
 * claim, and the longest pause of the event loop beside that of an idle loop in the same process. Flag: `--entries 1000000`.
 */
import { createHash, randomBytes } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { claimKey } from '../proxy/replay/claim.ts';
import { MemoryLedger } from '../proxy/replay/ledgers/memory.ts';

/** Claims in one turn of the loop: what comes in while it does something else. */
const claimsPerTurn = 16;
const rounds = 10;
const lifeMs = 60_000;

export interface LedgerReport {
  readonly entries: number;
  /** Of a ledger that holds nothing, and of all entries, with everything around them; after a collection of garbage. */
  readonly freshBytes: number;
  readonly totalBytes: number;
  readonly bytesPerEntry: number;
  readonly claimsPerSecond: number;
  /** Including the making of the id, which costs about a third of it. */
  readonly microsPerClaim: number;
  /** Longest turn of the loop while the ledger fills, and while it replaces what expires. */
  readonly longestPauseMs: number;
  /** The same of a loop that makes the ids and claims nothing, for as long, in turns with the ledger. */
  readonly idlePauseMs: number;
  /** Medians of the longest pauses of the rounds: one hiccup of the machine moves the two above, not these. */
  readonly typicalPauseMs: number;
  readonly typicalIdlePauseMs: number;
}

/**
 * Three passes through one ledger, each of which begins when all of the one before has expired. In the first it is told what it holds, by
 * collections of garbage that are pauses themselves and throw away what the engine had learned; the second has it learn that again; in
 * the third the pauses are measured. Without that they are those of the engine's compiler, which has the same core.
 */
export async function measureLedger(entries: number): Promise<LedgerReport> {
  const collect = findCollector();
  const ids = new Ids();
  const before = usedBytes(collect);
  const ledger = new MemoryLedger({ random: randomBytes }, entries);
  const freshBytes = usedBytes(collect) - before;
  let totalBytes = 0;
  await passThrough(ledger, entries, ids, 0, () => (totalBytes = usedBytes(collect) - before));
  await passThrough(ledger, entries, ids, 10 * lifeMs);
  const { claims, claimMs, pauses, idlePauses } = await passThrough(ledger, entries, ids, 20 * lifeMs);
  return {
    entries: claims / 2,
    freshBytes,
    totalBytes,
    bytesPerEntry: round1(totalBytes / (claims / 2)),
    claimsPerSecond: Math.round((claims / claimMs) * 1000),
    microsPerClaim: round3((claimMs / claims) * 1000),
    longestPauseMs: round3(Math.max(...pauses)),
    idlePauseMs: round3(Math.max(...idlePauses)),
    typicalPauseMs: round3(median(pauses)),
    typicalIdlePauseMs: round3(median(idlePauses)),
  };
}

interface Pass {
  readonly claims: number;
  readonly claimMs: number;
  /** The longest of each round. */
  readonly pauses: readonly number[];
  readonly idlePauses: readonly number[];
}

/**
 * Fills a ledger in rounds, then has all of its entries expire while as many new ones come, beside as many rounds of an idle loop.
 * @param onFull called when it holds all of them, between two rounds.
 */
async function passThrough(
  ledger: MemoryLedger,
  entries: number,
  ids: Ids,
  fromMs: number,
  onFull?: () => void,
): Promise<Pass> {
  const pauses: number[] = [];
  const idlePauses: number[] = [];
  let [claims, claimMs, sink] = [0, 0, 0];
  // One round of claims brings a tenth of the entries; in the second half each round's clock ends a tenth of the old ones.
  const perRound = Math.floor(entries / rounds / claimsPerTurn) * claimsPerTurn;
  for (let round = 0; round < 2 * rounds; round++) {
    const nowMs = fromMs + (round * lifeMs) / rounds;

    const claiming = await run(perRound, 0, () => {
      if (ledger.claim(ids.next(), nowMs + lifeMs - 1000, nowMs) !== 'claimed') throw new Error('a claim was refused');
    });
    pauses.push(claiming.longestMs);
    claimMs += claiming.busyMs;
    claims += perRound;
    // As long as the ledger took: the longer one waits, the longer the longest hiccup of the machine.
    const idle = await run(0, claiming.wallMs, () => (sink += ids.next().length));
    idlePauses.push(idle.longestMs);
    if (round === rounds - 1) onFull?.();
  }
  if (sink === 0) throw new Error('the idle loop made nothing');
  return { claims, claimMs, pauses, idlePauses };
}

interface Run {
  readonly busyMs: number;
  readonly wallMs: number;
  readonly longestMs: number;
}

/** Does something a few times in each turn of the loop, for so many times and for so long at least; times the longest turn. */
async function run(count: number, forMs: number, act: () => void): Promise<Run> {
  const start = performance.now();
  let [last, busyMs, longestMs] = [start, 0, 0];
  for (let done = 0; done < count || last - start < forMs; done += claimsPerTurn) {
    for (let one = 0; one < claimsPerTurn; one++) act();
    busyMs += performance.now() - last;
    await nextTurn();
    const now = performance.now();
    longestMs = Math.max(longestMs, now - last);
    last = now;
  }
  return { busyMs, wallMs: last - start, longestMs };
}

/** Keys of claims as proofs have them, without the cost of random bytes. */
class Ids {
  readonly #jkt = createHash('sha256').update(randomBytes(32)).digest('base64url');
  #count = 0;

  next(): string {
    this.#count++;
    return claimKey('dpop', this.#jkt, `c2l4dGVlbi1ieXRlcy${this.#count}`);
  }
}

function usedBytes(collect: () => void): number {
  collect();
  collect();
  const { arrayBuffers, heapUsed } = process.memoryUsage();
  return arrayBuffers + heapUsed;
}

function findCollector(): () => void {
  setFlagsFromString('--expose-gc');
  const collect: unknown = runInNewContext('gc');
  if (typeof collect !== 'function') throw new Error('there is no collector to call');
  return () => void collect();
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

function round1(value: number): number {
  return Math.round(value * 10) / 10;
}

function round3(value: number): number {
  return Math.round(value * 1000) / 1000;
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { entries: { type: 'string', default: '1000000' } } });
  console.log(JSON.stringify(await measureLedger(Number(values.entries)), undefined, 2));
}
