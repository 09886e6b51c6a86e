import type { Socket } from 'node:net';
import { dial, exchangeOn, type RawAnswer } from './raw-call.ts';
import { makeKey, makeProof, type ProofChanges, type SigningKey } from './signing-key.ts';

/** Where a caller sends its requests, and what it says that it calls. */
export interface Destination {
  /** Address of the way in: read for each connection, since a restart may change it. */
  readonly address: () => string;
  /** `inbound.origin`: what proofs name, and the Host of requests. */
  readonly origin: string;
  /** Makes an access token for this destination. */
  readonly mint: (claims: Readonly<Record<string, unknown>>) => Promise<string>;
  /** Opens a connection in place of plain TCP. */
  readonly connect?: () => Promise<Socket>;
}

/** One request of a caller. Left out, it is an honest one. */
export interface CallerRequest extends ProofChanges {
  readonly method?: string;
  /** Path of the request line, with query; the proof names the same unless `htu` does. */
  readonly path?: string;
  readonly body?: string | Buffer;
  /** Further header lines. */
  readonly headers?: readonly (readonly [name: string, value: string])[];
  /** Access token in place of the caller's; null: none. */
  readonly token?: string | null;
  readonly scheme?: string;
  /** Value of `DPoP` in place of a fresh proof; null: no such header. */
  readonly proof?: string | null;
  /** Value of `Waybill-Delegation`. */
  readonly chain?: string;
  readonly nonce?: string | undefined;
  readonly htu?: string;
  readonly htm?: string;
  /** The proof is made with this key. */
  readonly key?: SigningKey;
  /** Text in place of the lines `Host`, `Content-Length`. */
  readonly framing?: readonly (readonly [name: string, value: string])[];
}

/** A client of the way in: one user with a token that is bound to its key, who proves each request. */
export class Caller {
  readonly to: Destination;
  readonly key: SigningKey;
  readonly token: string;
  /** The newest nonce that it was given. */
  nonce: string | undefined;

  constructor(to: Destination, key: SigningKey, token: string) {
    this.to = to;
    this.key = key;
    this.token = token;
  }

  /** A proof for a request of this caller. */
  proofFor(request: CallerRequest = {}): string {
    const { method = 'GET', path = '/', token = this.token, chain } = request;
    const proved = {
      method: request.htm ?? method,
      url: request.htu ?? this.to.origin + path.split('?')[0],
      token: token ?? undefined,
      nonce: 'nonce' in request ? request.nonce : this.nonce,
      chain,
    };
    return makeProof(proved, request.key ?? this.key, request);
  }

  /** The bytes of a request. */
  bytes(request: CallerRequest = {}): Buffer {
    const { method = 'GET', path = '/', body, token = this.token, scheme = 'DPoP', headers = [] } = request;
    const proof = request.proof === undefined ? this.proofFor(request) : request.proof;
    const framing = request.framing ?? [
      ['Host', new URL(this.to.origin).host],
      ...(body === undefined ? [] : [['Content-Length', String(Buffer.byteLength(body))] as const]),
    ];
    const lines = [
      ...framing,
      ...(token === null ? [] : [['Authorization', `${scheme} ${token}`] as const]),
      ...(proof === null ? [] : [['DPoP', proof] as const]),
      ...(request.chain === undefined ? [] : [['Waybill-Delegation', request.chain] as const]),
      ...headers,
    ];
    const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('');
    return Buffer.concat([Buffer.from(`${method} ${path} HTTP/1.1\r\n${head}\r\n`, 'latin1'), Buffer.from(body ?? '')]);
  }

  /** Sends a request, on a connection of its own unless one is given. */
  async send(request: CallerRequest = {}, socket?: Socket): Promise<RawAnswer> {
    return this.sendBytes(this.bytes(request), socket);
  }

  /** Sends bytes as they are and keeps the nonce of the answer. */
  async sendBytes(bytes: Buffer, socket?: Socket): Promise<RawAnswer> {
    const connection = socket ?? (await this.connect());
    try {
      const answer = await exchangeOn(connection, bytes);
      this.nonce = answer.headers['dpop-nonce'] ?? this.nonce;
      return answer;
    } finally {
      if (socket === undefined) connection.destroy();
    }
  }

  /** As an honest client: asks again once, with the nonce that it was given. */
  async call(request: CallerRequest = {}, socket?: Socket): Promise<RawAnswer> {
    const answer = await this.send(request, socket);
    return answer.code === 'nonce_required' ? this.send(request, socket) : answer;
  }

  async connect(): Promise<Socket> {
    return this.to.connect?.() ?? dial(this.to.address());
  }
}

/** A caller with a fresh key and a token that is bound to it. */
export async function openCaller(
  to: Destination,
  claims: Readonly<Record<string, unknown>> = {},
  alg = 'ES256',
): Promise<Caller> {
  const key = await makeKey(alg);
  return new Caller(to, key, await to.mint({ cnf: { jkt: key.jkt }, ...claims }));
}
