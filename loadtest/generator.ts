/**
 * The load generator, a process of its own: keeps N connections busy with one request each, closed loop, and counts answers, latency
 * and the CPU of the process under test between the same two instants.
 */
import { connect, type Socket } from 'node:net';
import { readCpuNs } from './cpu.ts';
import { Histogram } from './histogram.ts';
import { makeRequests, type ProofOrder } from './proofs.ts';

/** One round of load. */
export interface Order {
  readonly port: number;
  readonly request: string;
  /** Where each request carries a proof of its own: which. They are all made before the load begins. */
  readonly proofs?: ProofOrder | undefined;
  readonly connections: number;
  /** Load before the first instant: connections open, caches full. */
  readonly warmMs: number;
  readonly measureMs: number;
  /** Whose CPU is counted. */
  readonly pid: number;
}

/** What was seen between the two instants. `errors` counts the whole round, warm-up and end included. */
export interface Measure {
  readonly requests: number;
  readonly errors: number;
  /** The first thing that went wrong, for the report of a failed run. */
  readonly firstError: string | undefined;
  readonly cpuNs: number;
  readonly wallMs: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** All answers of the round; the upstream must have seen as many requests. */
  readonly answers: number;
}

const drainMs = 1000;
const endOfHead = Buffer.from('\r\n\r\n');

class Round {
  readonly #order: Order;
  readonly #nextRequest: () => Buffer | undefined;
  readonly #sockets = new Set<Socket>();
  readonly #latency = new Histogram();
  #measuring = false;
  #stopping = false;
  #requests = 0;
  #answers = 0;
  #errors = 0;
  #firstError: string | undefined;

  constructor(order: Order) {
    this.#order = order;
    this.#nextRequest = makeRequests(order.request, order.proofs);
  }

  async run(): Promise<Measure> {
    const { connections, warmMs, measureMs, pid } = this.#order;
    for (let n = 0; n < connections; n += 1) this.#open();
    await sleep(warmMs);
    const cpuBefore = readCpuNs(pid);
    const startedAt = performance.now();
    this.#measuring = true;
    await sleep(measureMs);
    this.#measuring = false;
    const wallMs = performance.now() - startedAt;
    const cpuNs = readCpuNs(pid) - cpuBefore;
    await this.#drain();
    return {
      requests: this.#requests,
      errors: this.#errors,
      firstError: this.#firstError,
      cpuNs,
      wallMs,
      p50Ms: this.#latency.percentile(0.5),
      p99Ms: this.#latency.percentile(0.99),
      answers: this.#answers,
    };
  }

  #open(): void {
    const socket = connect({ host: '127.0.0.1', port: this.#order.port, noDelay: true });
    this.#sockets.add(socket);
    let sentAt = 0;
    let pending: Buffer | undefined;
    const send = () => {
      const request = this.#nextRequest();
      if (request === undefined) {
        this.#fail('no proof is left');
        return;
      }
      sentAt = performance.now();
      socket.write(request);
    };
    socket.on('connect', send);
    socket.on('data', (chunk: Buffer) => {
      const bytes = pending === undefined ? chunk : Buffer.concat([pending, chunk]);
      const length = this.#lengthOfAnswer(bytes);
      pending = bytes.length < length ? bytes : undefined;
      if (pending !== undefined) return;
      if (bytes.length > length) this.#fail('bytes after the answer');
      this.#answers += 1;
      if (this.#measuring) {
        this.#requests += 1;
        this.#latency.add(performance.now() - sentAt);
      }
      if (this.#stopping) socket.end();
      else send();
    });
    socket.on('error', (error) => this.#fail(error.message));
    socket.on('close', () => {
      this.#sockets.delete(socket);
      if (this.#stopping) return;
      this.#fail('connection closed');
      // Load stays at N connections; the pause keeps a variant that is down from being hammered.
      setTimeout(() => {
        if (!this.#stopping) this.#open();
      }, 20);
    });
  }

  /** Bytes of the whole answer at the start of `bytes`; infinite while its head is not there. */
  #lengthOfAnswer(bytes: Buffer): number {
    const end = bytes.indexOf(endOfHead);
    if (end < 0) return Infinity;
    const head = bytes.toString('latin1', 0, end);
    // "HTTP/1.1 200": anything else is an error, and so is an answer that is not framed by its length.
    if (!head.startsWith('200', 9)) this.#fail(head.slice(0, head.indexOf('\r\n')));
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
    if (length === undefined) this.#fail('an answer without Content-Length');
    return end + endOfHead.length + Number(length ?? 0);
  }

  #fail(what: string): void {
    this.#errors += 1;
    this.#firstError ??= what;
  }

  /** Lets the answers on their way arrive, so that no variant sees aborted requests. */
  async #drain(): Promise<void> {
    this.#stopping = true;
    const deadline = performance.now() + drainMs;
    while (this.#sockets.size > 0 && performance.now() < deadline) await sleep(5);
    if (this.#sockets.size > 0) this.#fail('no answer at the end');
    for (const socket of this.#sockets) socket.destroy();
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((wake) => {
    setTimeout(wake, ms);
  });
}

process.on('message', (order: Order) => {
  void new Round(order).run().then((measure) => process.send?.(measure));
});
process.on('disconnect', () => process.exit(0));
