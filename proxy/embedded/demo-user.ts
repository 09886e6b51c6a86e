import { createHash, randomUUID, type KeyObject } from 'node:crypto';
import { request as requestHttp, type IncomingMessage } from 'node:http';
import { calculateJwkThumbprint, exportJWK, generateKeyPair, SignJWT, type JWK } from 'jose';

/** The request that a proof is made for. */
export interface Proved {
  readonly method: string;
  /** Without query. */
  readonly url: string;
  readonly token: string;
  /** The newest nonce of the server, if it has sent one (RFC 9449 9). */
  readonly nonce?: string | undefined;
  /** SHA-256 of the `Waybill-Delegation` that goes with the request, for hops that send one. A user's client does not. */
  readonly wbd?: string | undefined;
}

/** What came back. */
export interface UserAnswer {
  readonly status: number;
  readonly text: string;
}

const timeoutMs = 20_000;

/**
 * A user's client as somebody writes it who has never heard of Waybill: a key of its own, a proof for each request (RFC 9449 4.2), and
 * a second try where the server wants its nonce. Everything in it is jose and node:http.
 */
export async function openDemoUser(): Promise<DemoUser> {
  const { privateKey, publicKey } = await generateKeyPair('ES256');
  const jwk = await exportJWK(publicKey);
  return new DemoUser(privateKey, jwk, await calculateJwkThumbprint(jwk));
}

type SigningKey = KeyObject | CryptoKey;

/** The client with its key. */
export class DemoUser {
  readonly #key: SigningKey;
  readonly #jwk: JWK;
  /** Thumbprint of the key: what the user's token is bound to at sign-in. */
  readonly jkt: string;

  constructor(key: SigningKey, jwk: JWK, jkt: string) {
    this.#key = key;
    this.#jwk = jwk;
    this.jkt = jkt;
  }

  /** One proof, for one request with one token. */
  prove({ method, url, token, nonce, wbd }: Proved): Promise<string> {
    const ath = createHash('sha256').update(token).digest('base64url');
    const claims = { jti: randomUUID(), htm: method, htu: url, ath };
    return new SignJWT({ ...claims, ...(nonce === undefined ? {} : { nonce }), ...(wbd === undefined ? {} : { wbd }) })
      .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk: this.#jwk })
      .setIssuedAt()
      .sign(this.#key);
  }

  /** GET with token and proof; once more if the server answers with a nonce. */
  async get(url: string, token: string): Promise<UserAnswer> {
    const first = await this.#send(url, token, undefined);
    const nonce = first.headers['dpop-nonce'];
    const answer =
      first.statusCode === 401 && typeof nonce === 'string' ? await this.#resend(first, url, token, nonce) : first;
    return { status: answer.statusCode ?? 0, text: await readText(answer) };
  }

  async #resend(refused: IncomingMessage, url: string, token: string, nonce: string): Promise<IncomingMessage> {
    // Unread, the refusal would hold its connection.
    refused.resume();
    return this.#send(url, token, nonce);
  }

  async #send(url: string, token: string, nonce: string | undefined): Promise<IncomingMessage> {
    const proof = await this.prove({ method: 'GET', url, token, nonce });
    return new Promise((resolve, reject) => {
      const headers = { Authorization: `DPoP ${token}`, DPoP: proof };
      // An agent of its own: the global one could be led through a proxy of the reader's environment.
      const sent = requestHttp(url, { headers, agent: false, signal: AbortSignal.timeout(timeoutMs) });
      sent.once('response', resolve).once('error', reject).end();
    });
  }
}

async function readText(answer: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of answer.setEncoding('utf8')) text += String(chunk);
  return text;
}
