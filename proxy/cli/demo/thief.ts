import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import { parseObject, type JsonObject } from '../json-object.ts';

/** What a way in answered. */
export interface ThiefAnswer {
  readonly status: number;
  readonly body: JsonObject;
  /** `DPoP-Nonce`: anybody gets one who asks. */
  readonly nonce: string | undefined;
}

const answerWithinMs = 10_000;

/** A request as it was copied from the wire, to be sent again as it is or changed. Its text has no way out but to the wire (W8). */
export class StolenRequest {
  readonly #head: string;

  /** @param head request line and headers with their final empty line, latin1. */
  constructor(head: string) {
    this.#head = head;
  }

  get path(): string {
    return this.#head.split(' ')[1] ?? '';
  }

  /** Value of a header; empty where it is not there. */
  header(name: string): string {
    const line = this.#lines().find((candidate) => candidate.toLowerCase().startsWith(`${name.toLowerCase()}:`));
    return line?.slice(name.length + 1).trim() ?? '';
  }

  /** Names of its headers, in lower case, in their order. */
  get headerNames(): readonly string[] {
    return this.#lines()
      .slice(1)
      .flatMap((line) => (line === '' ? [] : line.slice(0, line.indexOf(':')).toLowerCase()));
  }

  get token(): string {
    return this.header('Authorization').replace(/^\S+ +/, '');
  }

  /** What a proof has to say of the chain that goes with the request. */
  get chainDigest(): string {
    return createHash('sha256').update(this.header('Waybill-Delegation')).digest('base64url');
  }

  /** The same request at another path. */
  at(path: string): StolenRequest {
    return new StolenRequest(this.#head.replace(/^(\S+) \S+/, (_line, method: string) => `${method} ${path}`));
  }

  /** The same request with another value in a header that it has. */
  with(name: string, value: string): StolenRequest {
    const before = `${name.toLowerCase()}:`;
    const change = (line: string): string => (line.toLowerCase().startsWith(before) ? `${name}: ${value}` : line);
    return new StolenRequest(this.#lines().map(change).join('\r\n'));
  }

  /** Sends the bytes to a listener, `host:port`, on a connection of their own. */
  sendTo(address: string): Promise<ThiefAnswer> {
    const [host = '', port = ''] = address.split(':');
    return new Promise((resolve, reject) => {
      const socket = connect({ host, port: Number(port) });
      socket.setTimeout(answerWithinMs, () => socket.destroy(new Error('no answer')));
      socket.once('error', reject).once('close', () => reject(new Error('the connection was cut')));
      let text = '';
      socket.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
        const answer = readAnswer(text);
        if (answer === undefined) return;
        resolve(answer);
        socket.destroy();
      });
      socket.write(Buffer.from(this.#head, 'latin1'));
    });
  }

  #lines(): string[] {
    return this.#head.split('\r\n');
  }
}

/** An answer of known length, once it is whole. */
function readAnswer(text: string): ThiefAnswer | undefined {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const head = text.slice(0, end);
  const body = text.slice(end + 4);
  const length = Number(/^content-length: *(?<length>\d+)$/im.exec(head)?.groups?.['length'] ?? 0);
  if (Buffer.byteLength(body) < length) return undefined;
  return {
    status: Number(head.split(' ')[1]),
    body: parseObject(body) ?? {},
    nonce: /^dpop-nonce: *(?<nonce>\S+)$/im.exec(head)?.groups?.['nonce'],
  };
}
