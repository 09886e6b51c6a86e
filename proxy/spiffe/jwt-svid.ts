import { MalformedAnswer } from './identity-unavailable.ts';
import type { JwtSvidResponse } from './service-definition.ts';
import { SpiffeId } from './spiffe-id.ts';

/** A JWT-SVID for one audience: a bearer token, so its text leaves only through `token()`. */
export class JwtSvid {
  readonly spiffeId: SpiffeId;
  /** Milliseconds since the epoch. */
  readonly issuedAtMs: number;
  /** Milliseconds since the epoch. */
  readonly expiresAtMs: number;
  readonly #token: string;

  private constructor(token: string, spiffeId: SpiffeId, issuedAtMs: number, expiresAtMs: number) {
    this.#token = token;
    this.spiffeId = spiffeId;
    this.issuedAtMs = issuedAtMs;
    this.expiresAtMs = expiresAtMs;
  }

  /**
   * Reads the first SVID of an answer. The signature is the receiver's to check; here it is only seen that the token is what was asked
   * for: this one audience (a second could replay it), the SPIFFE ID that the agent says, not expired. Throws MalformedAnswer.
   */
  static fromResponse(response: JwtSvidResponse, audience: string, nowMs: number): JwtSvid {
    const message = response.svids[0];
    if (message === undefined || message.svid === '') throw new MalformedAnswer('the answer holds no JWT-SVID');
    const claims = readClaims(message.svid);
    if (claims['sub'] !== message.spiffe_id) throw new MalformedAnswer('a JWT-SVID names another SPIFFE ID');
    const audiences = Array.isArray(claims['aud']) ? claims['aud'] : [claims['aud']];
    if (audiences.length !== 1 || audiences[0] !== audience) {
      throw new MalformedAnswer('a JWT-SVID is not for exactly the audience that was asked for');
    }
    return JwtSvid.#read(message.svid, claims, message.spiffe_id, nowMs);
  }

  /**
   * Reads a token that somebody else asked for, with the audiences that it has; its owner looks for the one that is wanted among them.
   * Throws MalformedAnswer.
   */
  static fromToken(token: string, nowMs: number): { svid: JwtSvid; audiences: readonly string[] } {
    const claims = readClaims(token);
    const listed: readonly unknown[] = Array.isArray(claims['aud']) ? claims['aud'] : [claims['aud']];
    const audiences = listed.filter((audience) => typeof audience === 'string');
    if (audiences.length < listed.length) throw new MalformedAnswer('a JWT-SVID has an audience that is no text');
    return { svid: JwtSvid.#read(token, claims, claims['sub'], nowMs), audiences };
  }

  /** The compact JWS itself; only for the audience it was asked for. */
  token(): string {
    return this.#token;
  }

  static #read(token: string, claims: Readonly<Record<string, unknown>>, id: unknown, nowMs: number): JwtSvid {
    const expiresAtMs = readSeconds(claims['exp']);
    if (expiresAtMs === undefined) throw new MalformedAnswer('a JWT-SVID has no expiry');
    if (expiresAtMs <= nowMs) throw new MalformedAnswer('a JWT-SVID has expired');
    const issuedAtMs = readSeconds(claims['iat']) ?? nowMs;
    return new JwtSvid(token, parseId(typeof id === 'string' ? id : ''), Math.min(issuedAtMs, nowMs), expiresAtMs);
  }

  /** When half of its life is over: the time to ask for the next one. Milliseconds since the epoch. */
  get halfLifeMs(): number {
    return this.issuedAtMs + (this.expiresAtMs - this.issuedAtMs) / 2;
  }
}

const compactJws = /^[A-Za-z0-9_-]+\.(?<payload>[A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+$/;

function readClaims(token: string): Record<string, unknown> {
  const payload = compactJws.exec(token)?.groups?.['payload'];
  if (payload === undefined) throw new MalformedAnswer('a JWT-SVID is not a compact JWS');
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString());
    if (typeof claims === 'object' && claims !== null && !Array.isArray(claims)) return { ...claims };
  } catch {
    // JSON.parse quotes what it read in its message; the error below does not.
  }
  throw new MalformedAnswer('the payload of a JWT-SVID is not a JSON object');
}

function readSeconds(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) && value > 0 && value < 2 ** 43 ? value * 1000 : undefined;
}

function parseId(text: string): SpiffeId {
  try {
    return SpiffeId.parseWorkload(text);
  } catch {
    throw new MalformedAnswer('a JWT-SVID comes without a valid SPIFFE ID');
  }
}
