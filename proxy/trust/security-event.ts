import type { TransmitterSettings } from '../../config/signals.ts';
import type { World } from '../world.ts';
import { checkEndpoint, type IssuerMetadata, MetadataUnavailable, readOwnEndpoint } from './issuer-metadata.ts';
import { clockSkewSeconds } from './issuers.ts';
import { type JwksCache, KeysUnavailable } from './jwks.ts';
import { isObject } from './strict-json.ts';
import { InvalidToken, isSeconds, readAudience, readStrictJws, type StrictJws } from './strict-jws.ts';

/** The error codes of RFC 8935 2.4. */
export type SignalError =
  | 'invalid_request'
  | 'invalid_key'
  | 'invalid_issuer'
  | 'invalid_audience'
  | 'authentication_failed'
  | 'access_denied';

/** A security event token that is not good. Its message is for the transmitter, and holds no part of the token. */
export class SignalRejected extends Error {
  readonly err: SignalError;

  constructor(err: SignalError, description: string) {
    super(description);
    this.err = err;
  }
}

/** A security event token (RFC 8417, SSF 1.0) whose transmitter, audience, form, times and signature were verified. */
export interface SecurityEvent {
  readonly jti: string;
  /** URI of the type of its one event. */
  readonly type: string;
  /** Whom it is about (RFC 9493): to be read where it is needed. */
  readonly subject: unknown;
  /** When it happened, whole seconds since the epoch: never in the future. */
  readonly occurredAt: number;
  /** Until when it would be accepted, milliseconds since the epoch. */
  readonly acceptedUntilMs: number;
}

/** Time for the transmitter's metadata and keys together: what it sends has effect within 2 s. */
const keysTimeoutMs = 1900;
/** A transmitter that could not reach us sends again; what is older can only speak of tokens that are over. */
const maxAgeSeconds = 86_400;

/** Verifies security event tokens with the keys of their transmitters. */
export class SecurityEvents {
  readonly #keys: JwksCache;
  readonly #metadata: IssuerMetadata;
  readonly #world: World;

  /** @param metadata finds documents at `transmitterUrls`. */
  constructor(keys: JwksCache, metadata: IssuerMetadata, world: World) {
    this.#keys = keys;
    this.#metadata = metadata;
    this.#world = world;
  }

  /** Throws `SignalRejected` for what is not good, `KeysUnavailable` when the keys of the transmitter cannot be had. */
  async verify(jws: StrictJws, transmitter: TransmitterSettings): Promise<SecurityEvent> {
    // All that costs nothing comes before the keys. Another kind of token of the same issuer is no event (RFC 8417 2.3).
    if (jws.header.typ !== 'secevent+jwt') throw new SignalRejected('invalid_request', 'typ is not secevent+jwt');
    checkAudience(jws.payload['aud'], transmitter.audience);
    const event = readEvent(jws.payload, Math.floor(this.#world.now() / 1000));
    const endMs = this.#world.monotonic() + keysTimeoutMs;
    const url = await this.#jwksOf(transmitter);
    try {
      await this.#keys.verify(jws, url, 'sig', Math.max(1, Math.ceil(endMs - this.#world.monotonic())));
    } catch (error) {
      if (error instanceof InvalidToken) throw new SignalRejected('invalid_key', 'no key of the issuer signed this');
      throw error;
    }
    return event;
  }

  async #jwksOf({ issuer, jwks_uri: configured }: TransmitterSettings): Promise<URL> {
    try {
      if (configured !== undefined) return checkEndpoint(configured);
      const metadata = await this.#metadata.read(issuer, keysTimeoutMs);
      return readOwnEndpoint(metadata['jwks_uri'], issuer);
    } catch (error) {
      if (error instanceof MetadataUnavailable) throw new KeysUnavailable();
      throw error;
    }
  }
}

/** Reads the text of a token, unverified. Throws `SignalRejected`. */
export function readSecurityEvent(text: string): StrictJws {
  try {
    return readStrictJws(text);
  } catch (error) {
    if (!(error instanceof InvalidToken)) throw error;
    if (error.reason === 'alg') throw new SignalRejected('invalid_key', 'alg is not one of an asymmetric signature');
    throw new SignalRejected('invalid_request', 'the body is not a signed JWT in compact form');
  }
}

function checkAudience(aud: unknown, ours: readonly string[]): void {
  let named: readonly string[] = [];
  try {
    named = readAudience(aud);
  } catch (error) {
    if (!(error instanceof InvalidToken)) throw error;
  }
  if (!named.some((member) => ours.includes(member))) throw new SignalRejected('invalid_audience', 'aud is not ours');
}

function readEvent(payload: StrictJws['payload'], nowSeconds: number): SecurityEvent {
  const { iat, jti, events, sub, exp, sub_id: subject, toe } = payload;
  // What has them may be read as an ID token or a logout token by others, and was perhaps made to be (SSF 1.0, 4.1).
  if (sub !== undefined || exp !== undefined) throw bad('sub and exp must not be there; the subject is sub_id');
  if (typeof jti !== 'string' || jti === '') throw bad('jti is missing');
  // Of two such ids the hashes may be the same: the second event would count as done.
  if (!jti.isWellFormed()) throw bad('jti holds half of a letter');
  if (!isSeconds(iat)) throw bad('iat is missing');
  if (iat > nowSeconds + clockSkewSeconds) throw bad('iat is in the future');
  if (iat < nowSeconds - maxAgeSeconds) throw bad('iat is too long ago');
  const [first, ...more] = isObject(events) ? Object.entries(events) : [];
  if (first === undefined || more.length > 0) throw bad('events must hold exactly one event');
  const [type, body] = first;
  if (!isObject(body)) throw bad('the event is not an object');
  const { event_timestamp: timestamp = toe } = body;
  if (timestamp !== undefined && typeof timestamp !== 'number') throw bad('event_timestamp is not a number');
  const until = iat + maxAgeSeconds;
  return { jti, type, subject, occurredAt: readTime(timestamp, iat, nowSeconds), acceptedUntilMs: until * 1000 };
}

function bad(description: string): SignalRejected {
  return new SignalRejected('invalid_request', description);
}

/** The event's own time where it can be that: nobody gets tokens forbidden that are not issued yet, or none at all by a time of 0. */
function readTime(timestamp: number | undefined, iat: number, nowSeconds: number): number {
  const latest = Math.min(iat, nowSeconds);
  const isPlausible = timestamp !== undefined && timestamp <= nowSeconds && timestamp >= iat - maxAgeSeconds;
  return isPlausible ? Math.floor(timestamp) : latest;
}
