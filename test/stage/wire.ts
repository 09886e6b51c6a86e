import type { Socket } from 'node:net';
import { basic, dial, openTunnel, requestBytes } from './raw-call.ts';

/** A connection on which a test reads bytes as they come, with the time of each. */
export class Wire {
  readonly socket: Socket;
  /** Everything that has come. */
  received = '';
  bytes = 0;
  /** Monotonic milliseconds of the end of the connection; undefined while it is open. */
  closedAt: number | undefined;
  /** Whether the other side ended it in order (FIN), and not by a reset. */
  endedInOrder = false;
  readonly #keep: boolean;
  #wake: () => void = () => undefined;

  /** @param keep false for large answers: only `bytes` is counted. */
  constructor(socket: Socket, keep = true) {
    this.socket = socket;
    this.#keep = keep;
    socket.on('data', (chunk: Buffer) => {
      this.bytes += chunk.length;
      if (this.#keep) this.received += chunk.toString('latin1');
      this.#wake();
    });
    socket.once('end', () => (this.endedInOrder = true));
    socket.once('close', () => {
      this.closedAt = performance.now();
      this.#wake();
    });
    socket.on('error', () => undefined);
  }

  /** Resolves with the monotonic time at which the text has come; rejects when it does not within the limit. */
  async until(text: string | RegExp, limitMs = 5000): Promise<number> {
    await this.#wait(`${String(text)} in ${JSON.stringify(this.received.slice(-300))}`, limitMs, () =>
      typeof text === 'string' ? this.received.includes(text) : text.test(this.received),
    );
    return performance.now();
  }

  async untilBytes(count: number, limitMs = 20_000): Promise<void> {
    await this.#wait(`${count} bytes, came ${this.bytes}`, limitMs, () => this.bytes >= count);
  }

  /** Resolves with the monotonic time of the end of the connection. */
  async untilClosed(limitMs = 5000): Promise<number> {
    await this.#wait('the end of the connection', limitMs, () => this.closedAt !== undefined);
    return this.closedAt ?? 0;
  }

  async #wait(what: string, limitMs: number, holds: () => boolean): Promise<void> {
    const end = performance.now() + limitMs;
    while (!holds()) {
      const left = end - performance.now();
      if (left <= 0) throw new Error(`not within ${limitMs} ms: ${what}`);
      if (this.closedAt !== undefined && !holds()) throw new Error(`the connection ended before: ${what}`);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const timer = setTimeout(resolve, left);
      await promise;
      clearTimeout(timer);
    }
  }
}

/** How a request comes to the sidecar. */
export type Way = 'absolute-form' | 'CONNECT, plain' | 'CONNECT, TLS';
export const waysIn: readonly Way[] = ['absolute-form', 'CONNECT, plain', 'CONNECT, TLS'];

/** Where a way leads: a tool by plain HTTP, and the same by TLS. */
export interface Destination {
  readonly outbound: string;
  readonly handle: string;
  readonly plainHost: string;
  readonly tlsHost: string;
  /** PEM of the pod's CA. */
  readonly ca: string;
}

/** Opens a connection on which requests can be sent with `start`. */
export async function openWire(way: Way, to: Destination, keep = true): Promise<Wire> {
  const { outbound, handle, ca } = to;
  if (way === 'absolute-form') return new Wire(dial(outbound), keep);
  if (way === 'CONNECT, plain') return new Wire(await openTunnel(outbound, `${to.plainHost}:80`, { handle }), keep);
  const tls = { ca, serverName: to.tlsHost };
  return new Wire(await openTunnel(outbound, `${to.tlsHost}:443`, { handle, tls }), keep);
}

/** The head of a request by this way (and its body, if it is small). */
export function request(
  way: Way,
  to: Destination,
  path: string,
  options: { method?: string; headers?: Record<string, string>; body?: Buffer } = {},
): Buffer {
  const host = way === 'CONNECT, TLS' ? to.tlsHost : to.plainHost;
  const own: Record<string, string> = way === 'absolute-form' ? { 'Proxy-Authorization': basic(to.handle) } : {};
  const target = way === 'absolute-form' ? `http://${host}${path}` : path;
  return requestBytes(options.method ?? 'GET', target, { Host: host, ...own, ...options.headers }, options.body);
}
