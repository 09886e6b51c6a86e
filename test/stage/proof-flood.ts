import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Caller } from './caller.ts';
import type { FloodOrder, FloodReport } from './flood-process.ts';
import type { WayInStage } from './way-in-stage.ts';

/** What a flood of self-made proofs did. */
export interface Flooded {
  /** Refusals by reason. */
  readonly codes: Readonly<Record<string, number>>;
  /** Entries of the ledger before and after the first part of the flood, in which nobody else called. */
  readonly entries: { readonly before: number; readonly after: number };
  /** Refusals a second, at most, as measured before. */
  readonly capacity: number;
  /** Median of a good client's calls, milliseconds: while it was quiet, and in the flood; slices of both in turn. */
  readonly medians: { readonly quiet: number; readonly flooded: number };
  readonly goodCalls: number;
}

/**
 * Sends so many proofs by keys of their own with a stolen token, from another process, at half the rate that the way in can refuse; a
 * good client calls all the time.
 */
export async function flood(stage: WayInStage, proofs: number, slices: number): Promise<Flooded> {
  const good = await stage.caller();
  const flooder = new Flooder(stage, await stage.caller());
  try {
    for (let call = 0; call < 25; call += 1) await good.call({ path: '/good' });
    const before = await stage.sidecar.metric('waybill_ledger_entries');
    const first = Math.min(3000, Math.floor(proofs / 4));
    const ms = await flooder.send(first, 0);
    const entries = { before, after: await stage.sidecar.metric('waybill_ledger_entries') };
    const capacity = (first / ms) * 1000;
    const [quiet, flooded]: [number[], number[]] = [[], []];
    const part = Math.ceil((proofs - first) / slices);
    for (let sent = first; sent < proofs; sent += part) {
      quiet.push(...(await callFor(good, 500)));
      const sending = flooder.send(Math.min(part, proofs - sent), capacity / 2);
      await flooder.begun();
      while (flooder.isSending) flooded.push(...(await callFor(good, 50)));
      await sending;
    }
    const medians = { quiet: median(quiet), flooded: median(flooded) };
    return { codes: flooder.codes, entries, capacity, medians, goodCalls: 25 + quiet.length + flooded.length };
  } finally {
    flooder.close();
  }
}

/** The process that floods. It makes its proofs first, which costs more than to send them. */
class Flooder {
  readonly codes: Record<string, number> = {};
  isSending = false;
  readonly #child = fork(join(import.meta.dirname, 'flood-process.ts'));
  readonly #stage: WayInStage;
  readonly #victim: Caller;

  constructor(stage: WayInStage, victim: Caller) {
    this.#stage = stage;
    this.#victim = victim;
  }

  /** Sends so many at this rate; milliseconds until the last was answered. */
  async send(count: number, rate: number): Promise<number> {
    const { address, origin } = this.#stage.to;
    const { token, nonce = '' } = this.#victim;
    const order: FloodOrder = { address: address(), origin, token, nonce, count, rate };
    this.#child.send(order);
    await once(this.#child, 'message');
    this.isSending = true;
    const [report] = (await once(this.#child, 'message')) as [FloodReport];
    this.isSending = false;
    for (const [code, times] of Object.entries(report.codes)) this.codes[code] = (this.codes[code] ?? 0) + times;
    return report.ms;
  }

  /** Resolves when the proofs of an order are made and the first is sent. */
  async begun(): Promise<void> {
    while (!this.isSending) await sleep(2);
  }

  close(): void {
    this.#child.kill();
  }
}

/** Calls one after the other for so long; the time of each, milliseconds. */
async function callFor(caller: Caller, ms: number): Promise<number[]> {
  const socket = await caller.connect();
  const times: number[] = [];
  const end = performance.now() + ms;
  while (performance.now() < end) {
    const start = performance.now();
    const answer = await caller.call({ path: '/good' }, socket);
    if (answer.status !== 200) throw new Error(`a good call was refused: ${answer.status} ${answer.code}`);
    times.push(performance.now() - start);
  }
  socket.destroy();
  return times;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}
