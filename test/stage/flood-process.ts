import { connect, type Socket } from 'node:net';
import { makeKey, makeProof } from './signing-key.ts';

/** What the process is told: a token that is not its own, and where to send it. */
export interface FloodOrder {
  readonly address: string;
  readonly origin: string;
  readonly token: string;
  readonly nonce: string;
  readonly count: number;
  /** Requests a second, whatever the answers do; 0: as many as are answered. */
  readonly rate: number;
}

/** What came back. */
export interface FloodReport {
  readonly codes: Readonly<Record<string, number>>;
  readonly ms: number;
}

const lanes = 16;

/** A connection that sends without waiting, and counts the reasons in the answers. */
class Lane {
  readonly #socket: Socket;
  readonly #onCode: (code: string) => void;
  #rest = '';

  constructor(address: string, onCode: (code: string) => void) {
    const [host, port] = address.split(':');
    this.#onCode = onCode;
    this.#socket = connect(Number(port), host).setNoDelay();
    this.#socket.on('error', () => onCode('the connection broke')).on('data', (chunk: Buffer) => this.#read(chunk));
  }

  send(bytes: Buffer): void {
    this.#socket.write(bytes);
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    const text = this.#rest + chunk.toString('latin1');
    let end = 0;
    for (const match of text.matchAll(/"code":"([a-z_]+)"|HTTP\/1\.1 2\d\d/g)) {
      this.#onCode(match[1] ?? 'passed');
      end = match.index + match[0].length;
    }
    this.#rest = text.slice(Math.max(end, text.length - 64));
  }
}

async function run(order: FloodOrder): Promise<FloodReport> {
  const requests = await makeRequests(order);
  // Making them costs more than sending them: what is measured begins now.
  process.send?.('made');
  const codes: Record<string, number> = {};
  const done = Promise.withResolvers<void>();
  let answered = 0;
  let sent = 0;
  const all = Array.from({ length: lanes }, () => new Lane(order.address, (code) => hear(code)));
  const send = (): void => {
    const bytes = requests[sent];
    if (bytes === undefined) return;
    all[sent % lanes]?.send(bytes);
    sent += 1;
  };
  const hear = (code: string): void => {
    codes[code] = (codes[code] ?? 0) + 1;
    answered += 1;
    if (order.rate === 0) send();
    if (answered === requests.length) done.resolve();
  };
  const start = performance.now();
  if (order.rate === 0) for (let at = 0; at < lanes * 2; at += 1) send();
  else {
    const timer = setInterval(() => {
      const due = ((performance.now() - start) * order.rate) / 1000;
      while (sent < Math.min(due, requests.length)) send();
      if (sent >= requests.length) clearInterval(timer);
    }, 4);
  }
  await done.promise;
  const ms = performance.now() - start;
  for (const lane of all) lane.close();
  return { codes, ms };
}

/** Each with a whole proof, by a key of its own making, for that very request and token; one in ten without the token. */
async function makeRequests({ origin, token, nonce, count }: FloodOrder): Promise<Buffer[]> {
  const keys = await Promise.all(Array.from({ length: 50 }, () => makeKey()));
  return Array.from({ length: count }, (_, at) => {
    const url = `${origin}/flood/${at}`;
    const proof = makeProof({ method: 'GET', url, token, nonce }, keys[at % keys.length]!);
    const authorization = at % 10 === 9 ? '' : `Authorization: DPoP ${token}\r\n`;
    const host = new URL(origin).host;
    return Buffer.from(
      `GET /flood/${at} HTTP/1.1\r\nHost: ${host}\r\n${authorization}DPoP: ${proof}\r\n\r\n`,
      'latin1',
    );
  });
}

process.on('message', (order: FloodOrder) => {
  void run(order).then((report) => process.send?.(report));
});
