import { NameMemo } from '../trust/name-memo.ts';

/** Headers of a tool's answer that end here. */
const dropped = new Set([
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  // Would lead the agent to the tool around the sidecar.
  'alt-svc',
]);
const droppedPrefixes = ['waybill-', 'workload-', 'txn-token', 'signature'];

/** What a header of an answer is to us. */
type ReplyHeaderClass = 'forward' | 'drop' | 'cookie' | 'length' | 'coding' | 'challenge' | 'nonce' | 'connection';

const named: Readonly<Record<string, ReplyHeaderClass>> = {
  'content-length': 'length',
  'transfer-encoding': 'coding',
  'www-authenticate': 'challenge',
  'dpop-nonce': 'nonce',
  connection: 'connection',
};

const classes = new NameMemo(classOf);

function classOf(name: string): ReplyHeaderClass {
  const lower = name.toLowerCase();
  // However it is spelled, some program reads it as the one or the other.
  if (/^set[-_.]cookie2?$/.test(lower)) return 'cookie';
  // First what is read: of that, too, some ends here.
  if (Object.hasOwn(named, lower)) return named[lower] ?? 'forward';
  return dropped.has(lower) || droppedPrefixes.some((prefix) => lower.startsWith(prefix)) ? 'drop' : 'forward';
}

/** What an answer's headers say to us, and what goes on to the agent. */
export interface ReplyHeaders {
  /** Flat, as `writeHead` takes it. */
  readonly forward: string[];
  /** Value of `DPoP-Nonce`, if there is exactly one. */
  readonly nonce: string | undefined;
  /** Values of `WWW-Authenticate`, joined. */
  readonly challenge: string | undefined;
  /** Value of `Content-Length`; NaN for what is no number. */
  readonly length: number | undefined;
  /** Whether the body came in another transfer coding than `chunked` alone, the only one that is taken off here (RFC 9112 7). */
  readonly isCoded: boolean;
  /** Values of `Set-Cookie`, whether they go on or not. */
  readonly cookies: readonly string[];
}

/**
 * Reads the raw headers of an answer. Cookies of tools with a credential stay here: with a session that was opened by one, the agent
 * would need us no more, and could carry it into another task.
 */
export function readReplyHeaders(raw: readonly (Buffer | string)[], keepCookies: boolean): ReplyHeaders {
  const reading = new Reading();
  for (let at = 0; at < raw.length; at += 2) {
    const part = raw[at] ?? '';
    const { name, meaning: found } =
      typeof part === 'string' ? { name: part, meaning: classes.of(part) } : classes.ofBytes(part);
    if (found === 'drop') continue;
    const value = textOf(raw[at + 1]);
    if (found === 'forward') reading.forward.push(name, value);
    else readOwn(reading, found, name, value, keepCookies);
  }
  if (reading.nominated !== undefined) reading.forward = withoutNominated(reading.forward, reading.nominated);
  // Two nonces are none: nobody can tell which the tool will ask for.
  if (reading.nonces !== 1) reading.nonce = undefined;
  return reading;
}

class Reading implements ReplyHeaders {
  forward: string[] = [];
  nonce: string | undefined;
  nonces = 0;
  challenge: string | undefined;
  length: number | undefined;
  isChunked = false;
  isCoded = false;
  readonly cookies: string[] = [];
  nominated: Set<string> | undefined;
}

function readOwn(reading: Reading, found: ReplyHeaderClass, name: string, value: string, keepCookies: boolean): void {
  if (found === 'nonce') {
    reading.nonce = value;
    reading.nonces += 1;
    return;
  }
  if (found === 'connection') {
    reading.nominated = nominations(reading.nominated, value);
    return;
  }
  if (found === 'coding') {
    // Named twice, `chunked` was put on twice: what is below the one that is taken off is no plain body. Behind a tab, the parser takes off none.
    if (reading.isChunked || !/^chunked *$/i.test(value)) reading.isCoded = true;
    reading.isChunked = true;
    return;
  }
  if (found === 'cookie') {
    if (name.toLowerCase() === 'set-cookie') reading.cookies.push(value);
    if (!keepCookies) return;
  }
  if (found === 'length') reading.length = Number(value);
  if (found === 'challenge')
    reading.challenge = reading.challenge === undefined ? value : `${reading.challenge}, ${value}`;
  reading.forward.push(name, value);
}

function textOf(part: Buffer | string | undefined): string {
  return typeof part === 'string' ? part : (part?.toString('latin1') ?? '');
}

function nominations(before: Set<string> | undefined, value: string): Set<string> | undefined {
  const lower = value.toLowerCase();
  if (lower === 'keep-alive' || lower === 'close') return before;
  const all = before ?? new Set<string>();
  for (const option of lower.split(',')) all.add(option.trim());
  return all;
}

function withoutNominated(forward: readonly string[], nominated: ReadonlySet<string>): string[] {
  const kept: string[] = [];
  for (let at = 0; at < forward.length; at += 2) {
    const name = forward[at] ?? '';
    // Framing and type are never hop-by-hop, whatever a tool nominates.
    if (/^content-/i.test(name) || !nominated.has(name.toLowerCase())) kept.push(name, forward[at + 1] ?? '');
  }
  return kept;
}

/** Trailers that may follow a chunked answer: end-to-end ones, by the same rules. */
export function readTrailers(trailers: Readonly<Record<string, string | string[] | undefined>>): [string, string][] {
  const kept: [string, string][] = [];
  for (const [name, value] of Object.entries(trailers)) {
    if (classes.of(name) !== 'forward' || /^(?:authorization|host)$/i.test(name)) continue;
    for (const one of Array.isArray(value) ? value : [value]) if (one !== undefined) kept.push([name, one]);
  }
  return kept;
}

/** What a challenge in `WWW-Authenticate` asks of us: a nonce (RFC 9449 9), or another token (RFC 6750 3.1). */
export function readChallenge(challenge: string | undefined, nonce: string | undefined): 'nonce' | 'token' | undefined {
  if (challenge === undefined) return undefined;
  if (nonce !== undefined && states(challenge, /\bdpop\b/i, /\berror\s*=\s*"?use_dpop_nonce/i)) return 'nonce';
  return states(challenge, /\b(?:bearer|dpop)\b/i, /\berror\s*=\s*"?invalid_token/i) ? 'token' : undefined;
}

/** Whether an error stands behind a scheme. As one expression the rest would be read for each time that a tool names the scheme. */
function states(challenge: string, scheme: RegExp, error: RegExp): boolean {
  const at = challenge.search(scheme);
  return at >= 0 && error.test(challenge.slice(at));
}
