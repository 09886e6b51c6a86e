import { parseStrictJson } from './strict-json.ts';

/** Why a token is not good: a closed set that may be recorded. */
export type InvalidTokenReason =
  | 'malformed'
  | 'alg'
  | 'header'
  | 'key'
  | 'signature'
  | 'typ'
  | 'issuer'
  | 'audience'
  | 'subject'
  | 'expired'
  | 'not_yet_valid'
  | 'actor';

/** A token that must not be trusted. Holds no part of the token. */
export class InvalidToken extends Error {
  readonly reason: InvalidTokenReason;

  constructor(reason: InvalidTokenReason) {
    super(`invalid token: ${reason}`);
    this.reason = reason;
  }
}

/** JOSE header after the strict reading: only members that somebody may act on. */
export interface StrictHeader {
  readonly alg: string;
  readonly kid: string | undefined;
  /** Lower case, without `application/` (RFC 7515 4.1.9); empty when absent. */
  readonly typ: string;
  /** Names of key-carrying members that were there and are not used (`jku`, `x5u`, `x5c`, `jwk`): worth a flag. */
  readonly ignored: readonly string[];
}

export interface StrictCompact {
  /** The one spelling of this JWS. */
  readonly text: string;
  readonly header: StrictHeader;
  readonly payloadBytes: Buffer;
}

export interface StrictJws extends StrictCompact {
  readonly payload: Readonly<Record<string, unknown>>;
}

/** Asymmetric algorithms of RFC 7518, 8037 and 9864. A key narrows them further; the token never chooses. */
const signatureAlgs: ReadonlySet<string> = new Set(
  'RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA Ed25519'.split(' '),
);

const maxTokenBytes = 16 * 1024;
const compact = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Reads a compact JWS as strictly as it can be spelled, before any crypto (PROTOCOLS 2). Lenient decoders accept padding, spaces,
 * line ends and loose trailing bits, so that one token has many spellings and a ledger keyed by text is fooled.
 */
export function readStrictCompact(text: string): StrictCompact {
  const { header, payloadBytes } = readParts(text);
  return { text, header: readHeader(parseUtf8(decodeExactly(header))), payloadBytes };
}

/** The same for a JWS whose payload is a JSON object, as every JWT's is. The signature is still to be verified. */
export function readStrictJws(text: string): StrictJws {
  const strict = readStrictCompact(text);
  return { ...strict, payload: parseUtf8(strict.payloadBytes) };
}

/** The payload alone, as strictly, for a JWS whose header was read before from the very same text. */
export function readStrictPayload(text: string): Readonly<Record<string, unknown>> {
  return parseUtf8(readParts(text).payloadBytes);
}

function readParts(text: string): { readonly header: string; readonly payloadBytes: Buffer } {
  if (text.length > maxTokenBytes || !compact.test(text)) throw new InvalidToken('malformed');
  const [header = '', payload = '', signature = ''] = text.split('.');
  // The signature's spelling counts too, though only the verifier reads its bytes.
  checkSpelling(signature);
  return { header, payloadBytes: decodeExactly(payload) };
}

/** An integer number of seconds as JWT times must be (`NumericDate`, without the fractions nobody needs). */
export function isSeconds(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

/** The last moment that a date holds, milliseconds. */
const lastMs = 8.64e15;

/** When a token with this `exp` ends, milliseconds: one that goes beyond all dates with the last of them, or no event could tell its end. */
export function endOf(exp: number): number {
  return Math.min(exp * 1000, lastMs);
}

/** Members of an `aud` claim: one string or a list of strings. Throws for any other shape. */
export function readAudience(aud: unknown): readonly string[] {
  const list: readonly unknown[] = Array.isArray(aud) ? aud : [aud];
  if (list.length === 0 || !list.every((member) => typeof member === 'string')) throw new InvalidToken('audience');
  return list;
}

function decodeExactly(part: string): Buffer {
  checkSpelling(part);
  return Buffer.from(part, 'base64url');
}

/** Last characters whose unused bits are zero, where two or four bits of them are used: any other is a second spelling of the bytes. */
const lastOfOneByte = 'AQgw';
const lastOfTwoBytes = 'AEIMQUYcgkosw048';

/** Whether base64url is spelled as an encoder spells it (RFC 4648 3.5). Its letters were looked at before. */
function checkSpelling(part: string): void {
  const last = part.at(-1) ?? '';
  const left = part.length % 4;
  const isOne =
    left === 0 || (left === 2 && lastOfOneByte.includes(last)) || (left === 3 && lastOfTwoBytes.includes(last));
  if (!isOne) throw new InvalidToken('malformed');
}

function parseUtf8(bytes: Buffer): Record<string, unknown> {
  try {
    return parseStrictJson(utf8.decode(bytes));
  } catch {
    throw new InvalidToken('malformed');
  }
}

function readHeader(raw: Record<string, unknown>): StrictHeader {
  const { alg, kid, typ } = raw;
  if (typeof alg !== 'string' || !signatureAlgs.has(alg)) throw new InvalidToken('alg');
  // Each of these changes what the rest of the token means. An unknown `crit` must be refused (RFC 7515 4.1.11), and we know none.
  for (const name of ['crit', 'zip', 'b64', 'enc']) if (name in raw) throw new InvalidToken('header');
  if (kid !== undefined && typeof kid !== 'string') throw new InvalidToken('header');
  if (typ !== undefined && typeof typ !== 'string') throw new InvalidToken('header');
  return {
    alg,
    kid,
    typ: normalTyp(typ ?? ''),
    ignored: ['jku', 'x5u', 'x5c', 'jwk'].filter((name) => name in raw),
  };
}

/**
 * The values of a `typ` setting in the form of `StrictHeader.typ`. The word `none` stands for a token without that header, as some
 * services issue them: it has to be said, since other kinds of token of the same issuer may have none either (RFC 8725 3.11).
 */
export function allowedTyps(setting: readonly string[]): ReadonlySet<string> {
  return new Set(setting.map((typ) => (typ === 'none' ? '' : normalTyp(typ))));
}

/** `typ` values are compared without case and without an `application/` in front (RFC 7515 4.1.9). */
export function normalTyp(typ: string): string {
  const lower = typ.toLowerCase();
  return lower.startsWith('application/') ? lower.slice('application/'.length) : lower;
}
