import { createPublicKey, type KeyObject } from 'node:crypto';
import type { JwtAuthority } from './bundles.ts';
import { isJwsSignature, isSvidAlgorithm } from './jws-signature.ts';
import { SpiffeId } from './spiffe-id.ts';
import { decodeExactly, readMembers, type Members } from './strict-members.ts';

/** Why a JWT-SVID is not believed: a closed set that may be recorded. */
export type InvalidJwtSvidReason =
  | 'header'
  | 'alg'
  | 'kid'
  | 'subject'
  | 'audience'
  | 'expired'
  | 'not_yet_valid'
  | 'no_bundle'
  | 'key'
  | 'signature';

/**
 * Whom a JWT-SVID speaks for, or why it is not believed. It carries no key: who presents one has to show in another way that he is
 * this workload.
 */
export type JwtSvidVerdict =
  | {
      readonly kind: 'valid';
      readonly spiffeId: string;
      readonly trustDomain: string;
      /** More than one means that each of the others can present it here too: worth a warning. */
      readonly audience: readonly string[];
      /** Milliseconds since the epoch. */
      readonly expiresAtMs: number;
      readonly claims: Readonly<Record<string, unknown>>;
    }
  | { readonly kind: 'invalid'; readonly reason: InvalidJwtSvidReason };

/** Does not leave this file: it holds a word of the closed set and no part of the token. */
class Invalid extends Error {
  readonly reason: InvalidJwtSvidReason;

  constructor(reason: InvalidJwtSvidReason) {
    super(reason);
    this.reason = reason;
  }
}

/** The keys of a trust domain (`example.org`) that sign JWT-SVIDs; undefined where it is not trusted. */
export type JwtBundleOf = (trustDomain: string) => readonly JwtAuthority[] | undefined;

const compact = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)$/;
const maxBytes = 16 * 1024;
/** Clocks of two machines differ by up to this much; applied to `nbf` and `iat`. An `exp` that is over is over. */
const skewSeconds = 30;
/** The last moment that a date holds, milliseconds. What ends later could not be written as one. */
const lastMs = 8.64e15;
/** An imported key lives as long as the bundle that it came in. */
const imported = new WeakMap<JwtAuthority, KeyObject>();

/**
 * Verifies a JWT-SVID (JWT-SVID 2 to 5) with the keys of the trust domain in its `sub` and no others. Undefined for a text that is
 * none: no JWT without a `typ` of its own whose `sub` begins as a SPIFFE ID does. It may then be a token of another kind.
 * @param audience our own name, compared byte for byte; the token may name others beside it.
 * @param nowMs milliseconds since the epoch.
 */
export function checkJwtSvid(
  text: string,
  audience: string,
  bundleOf: JwtBundleOf,
  nowMs: number,
): JwtSvidVerdict | undefined {
  const parts = text.length <= maxBytes ? compact.exec(text) : null;
  const [, head = '', body = '', tail = ''] = parts ?? [];
  const [header, claims] = [readMembers(head), readMembers(body)];
  if (header === undefined || claims === undefined || !isSvidKind(header, claims)) return undefined;
  try {
    const { alg, kid } = checkHeader(header);
    // Read before the key is looked for: which bundle counts depends on `sub`.
    const spiffeId = readSubject(claims['sub']);
    const key = findKey(bundleOf(spiffeId.trustDomain), alg, kid);
    const signature = decodeExactly(tail);
    // Before everything else that it says: what a stranger writes down is not the misuse of a real token, and must not be counted as one.
    if (signature === undefined || !isJwsSignature(alg, key, `${head}.${body}`, signature))
      throw new Invalid('signature');
    const expiresAtMs = checkTimes(claims, nowMs);
    const named = readAudience(claims['aud']);
    if (!named.includes(audience)) throw new Invalid('audience');
    const { trustDomain } = spiffeId;
    return { kind: 'valid', spiffeId: spiffeId.toString(), trustDomain, audience: named, expiresAtMs, claims };
  } catch (error) {
    if (error instanceof Invalid) return { kind: 'invalid', reason: error.reason };
    throw error;
  }
}

/** `typ` absent, `JWT` or `JOSE` (JWT-SVID 2.3): every other kind of token says what it is. */
function isSvidKind({ typ }: Members, { sub }: Members): boolean {
  return (typ === undefined || typ === 'JWT' || typ === 'JOSE') && typeof sub === 'string' && /^spiffe:/i.test(sub);
}

/** JWT-SVID 2: `alg`, `kid` and `typ`, and nothing else: `jku`, `jwk` and the like would bring a key along, `crit` change the meaning. */
function checkHeader(header: Members): { alg: string; kid: string } {
  const { alg, kid, typ: _kind, ...others } = header;
  if (!isSvidAlgorithm(alg)) throw new Invalid('alg');
  if (Object.keys(others).length > 0) throw new Invalid('header');
  if (typeof kid !== 'string' || kid === '') throw new Invalid('kid');
  return { alg, kid };
}

function readSubject(sub: unknown): SpiffeId {
  try {
    return SpiffeId.parseWorkload(typeof sub === 'string' ? sub : '');
  } catch {
    throw new Invalid('subject');
  }
}

function readAudience(aud: unknown): readonly string[] {
  const list: readonly unknown[] = Array.isArray(aud) ? aud : [aud];
  return list.map((member) => {
    if (typeof member !== 'string') throw new Invalid('audience');
    return member;
  });
}

function checkTimes({ exp, nbf, iat }: Members, nowMs: number): number {
  if (!isSeconds(exp) || exp * 1000 <= nowMs) throw new Invalid('expired');
  for (const start of [nbf, iat]) {
    if (start === undefined) continue;
    if (!isSeconds(start) || (start - skewSeconds) * 1000 > nowMs) throw new Invalid('not_yet_valid');
  }
  return Math.min(exp * 1000, lastMs);
}

function isSeconds(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function findKey(bundle: readonly JwtAuthority[] | undefined, alg: string, kid: string): KeyObject {
  if (bundle === undefined) throw new Invalid('no_bundle');
  const authority = bundle.find((one) => one.kid === kid);
  if (authority === undefined || (authority.alg ?? alg) !== alg) throw new Invalid('key');
  let key = imported.get(authority);
  if (key === undefined) {
    try {
      key = createPublicKey({ key: { ...authority }, format: 'jwk' });
    } catch {
      throw new Invalid('key');
    }
    imported.set(authority, key);
  }
  return key;
}
