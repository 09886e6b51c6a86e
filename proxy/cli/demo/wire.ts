import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** More than a demo sends; what comes after it is passed on and not kept. */
const keptBytes = 256 * 1024;

/** Opens a wire on a free port of 127.0.0.1. Until it leads somewhere, who calls is cut off. */
export async function openWire(): Promise<Wire> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return new Wire(server);
}

/**
 * The wire before a listener: it passes bytes on and keeps what the callers sent, as anybody can who sits on it. Its port is known before
 * the listener is there, so that configurations can name it.
 */
export class Wire {
  readonly #server: Server;
  readonly port: number;
  #to: number | undefined;
  readonly #sockets = new Set<Socket>();
  /** What callers sent, by connection; tokens and proofs are in it. */
  readonly #sent: Buffer[][] = [];
  #kept = 0;

  constructor(server: Server) {
    this.#server = server;
    const address = server.address();
    this.port = typeof address === 'object' ? (address?.port ?? 0) : 0;
    server.on('connection', (socket: Socket) => this.#pass(socket));
  }

  /** The origin that callers know. */
  get origin(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Leads the wire to a listener, `host:port` on this machine. */
  lead(to: string): void {
    this.#to = Number(to.slice(to.lastIndexOf(':') + 1));
  }

  /** Heads of all requests that crossed it, oldest first, byte for byte as latin1 with their final empty line. None of them has a body. */
  requests(): readonly string[] {
    return this.#sent.flatMap((chunks) => {
      const heads = Buffer.concat(chunks).toString('latin1').split('\r\n\r\n').slice(0, -1);
      return heads.map((head) => `${head}\r\n\r\n`);
    });
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #pass(caller: Socket): void {
    if (this.#to === undefined) {
      caller.destroy();
      return;
    }
    const listener = connect({ port: this.#to, host: '127.0.0.1', noDelay: true });
    const chunks: Buffer[] = [];
    this.#sent.push(chunks);
    caller.on('data', (chunk: Buffer) => {
      this.#kept += chunk.length;
      if (this.#kept <= keptBytes) chunks.push(chunk);
    });
    for (const [one, other] of [
      [caller, listener],
      [listener, caller],
    ] as const) {
      this.#sockets.add(one);
      one.pipe(other);
      // Either end takes the other one with it; neither is a fault of the wire.
      one
        .on('error', () => undefined)
        .once('close', () => {
          this.#sockets.delete(one);
          other.destroy();
        });
    }
  }
}
