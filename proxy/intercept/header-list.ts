import { Refusal } from '../refusal.ts';
import { mayBeNominated, type HeaderClass } from './header-names.ts';
import { isTraceparent, isTracestate, ownTraceIn, withoutOwnTrace } from './trace-context.ts';

/** The agent's headers, read once. Flat arrays `[name, value, …]` as node:http gives them; nothing is rebuilt as an object. */
export interface HeaderList {
  /** End-to-end headers that are passed on as they came. */
  readonly forward: readonly string[];
  /** Headers that may carry a handle: `Authorization`, `x-api-key`, and what the tools' `handle_header` name. */
  readonly credentials: readonly string[];
  readonly cookies: readonly string[];
  /** In which coding and which part of the answer the agent wants. */
  readonly selection: readonly string[];
  readonly host: string | undefined;
  readonly proxyAuthorization: string | undefined;
  readonly origin: string | undefined;
  /** Which page a browser calls for; all lines of it, joined. */
  readonly fetchSite: string | undefined;
  readonly via: string | undefined;
  /** Values of our member of `tracestate`, which is no part of `forward`; undefined for none. */
  readonly traceMarks: readonly string[] | undefined;
  /** Declared length of the body, bytes; undefined when none was declared. */
  readonly contentLength: number | undefined;
  readonly chunked: boolean;
  readonly expectContinue: boolean;
}

class Reading {
  readonly forward: string[] = [];
  readonly credentials: string[] = [];
  readonly cookies: string[] = [];
  readonly selection: string[] = [];
  host: string | undefined;
  proxyAuthorization: string | undefined;
  origin: string | undefined;
  fetchSite: string | undefined;
  via: string | undefined;
  traceMarks: string[] | undefined;
  contentLength: number | undefined;
  chunked = false;
  expectContinue = false;
  nominated: string[] | undefined;
  traceparent: string | undefined;
  /** All lines of it, joined as the receiver joins them. */
  tracestate: string | undefined;
}

/**
 * Reads raw headers in one pass: hop-by-hop and identity headers fall away, what carries meaning for us is taken out.
 * Refuses what two readers could understand differently: repeated singletons, unknown transfer codings, `Connection` options that
 * name a header of ours.
 */
export function readHeaders(raw: readonly string[], classOfName: (name: string) => HeaderClass): HeaderList {
  const reading = new Reading();
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at] ?? '';
    const value = raw[at + 1] ?? '';
    const found = classOfName(name);
    if (found === 'forward') reading.forward.push(name, value);
    else if (found !== 'hop' && found !== 'identity') readOwn(reading, found, name, value);
  }
  if (reading.chunked && reading.contentLength !== undefined)
    throw malformed('Content-Length beside Transfer-Encoding');
  if (reading.traceparent !== undefined || reading.tracestate !== undefined) checkTrace(reading);
  if (reading.nominated !== undefined) dropNominated(reading, reading.nominated, classOfName);
  return reading;
}

function readOwn(reading: Reading, found: HeaderClass, name: string, value: string): void {
  switch (found) {
    case 'host':
      reading.host = single(reading.host, value, 'Host');
      return;
    case 'credential':
      readCredential(reading, name, value);
      return;
    case 'connection':
      readConnection(reading, value);
      return;
    case 'content-length':
      if (!/^\d{1,15}$/.test(value)) throw malformed('Content-Length is not a number');
      reading.contentLength = Number(single(reading.contentLength?.toString(), value, 'Content-Length'));
      return;
    case 'transfer-encoding':
      // Only the one coding that every reader of HTTP/1.1 understands alike (request smuggling: TE.TE).
      if (reading.chunked || value.toLowerCase() !== 'chunked')
        throw malformed('Transfer-Encoding other than one "chunked"');
      reading.chunked = true;
      return;
    case 'proxy-authorization':
      reading.proxyAuthorization = single(reading.proxyAuthorization, value, 'Proxy-Authorization');
      return;
    case 'cookie':
      reading.cookies.push(name, value);
      return;
    case 'selection':
      reading.selection.push(name, value);
      return;
    case 'via':
      reading.via = reading.via === undefined ? value : `${reading.via}, ${value}`;
      return;
    case 'origin':
      reading.origin = single(reading.origin, value, 'Origin');
      reading.forward.push(name, value);
      return;
    case 'fetch-site':
      reading.fetchSite = reading.fetchSite === undefined ? value : `${reading.fetchSite}, ${value}`;
      reading.forward.push(name, value);
      return;
    case 'traceparent':
      // Two of them are none.
      reading.traceparent = reading.traceparent === undefined ? value : '';
      reading.forward.push(name, value);
      return;
    case 'tracestate': {
      const kept = withoutOwnTrace(value);
      if (kept !== value) (reading.traceMarks ??= []).push(...ownTraceIn(value));
      if (kept === '' && value !== '') return;
      reading.tracestate = reading.tracestate === undefined ? kept : `${reading.tracestate},${kept}`;
      reading.forward.push(name, kept);
      return;
    }
    case 'expect':
      if (value.toLowerCase() !== '100-continue') throw malformed('Expect other than 100-continue');
      reading.expectContinue = true;
      return;
    default:
      return;
  }
}

function readCredential(reading: Reading, name: string, value: string): void {
  const lower = name.toLowerCase();
  // Several proofs are told by the way in, in its turn: what is wrong with the token comes first.
  if (lower !== 'dpop') refuseRepeated(reading, lower, name);
  reading.credentials.push(name, value);
}

function refuseRepeated({ credentials }: Reading, lower: string, name: string): void {
  for (let at = 0; at < credentials.length; at += 2)
    if (credentials[at]?.toLowerCase() === lower) throw malformed(`${name} is there more than once`);
}

function readConnection(reading: Reading, value: string): void {
  const lower = value.toLowerCase();
  if (lower === 'keep-alive' || lower === 'close') return;
  reading.nominated ??= [];
  for (const option of lower.split(',')) {
    const trimmed = option.trim();
    if (trimmed !== '') reading.nominated.push(trimmed);
  }
}

function dropNominated(reading: Reading, nominated: string[], classOfName: (name: string) => HeaderClass): void {
  for (const option of nominated) {
    if (!mayBeNominated(option, classOfName)) {
      throw new Refusal('header_forbidden', `Connection must not name ${printable(option)}.`);
    }
  }
  const names = new Set(nominated);
  dropFrom(reading.forward, names);
  dropFrom(reading.selection, names);
}

const stateName = new Set(['tracestate']);
const traceNames = new Set(['traceparent', 'tracestate']);

/** A trace that cannot be read is begun anew behind us, without what stood beside it (W3C Trace Context 4.2). */
function checkTrace({ traceparent, tracestate, forward }: Reading): void {
  if (traceparent !== undefined && !isTraceparent(traceparent)) dropFrom(forward, traceNames);
  else if (tracestate !== undefined && !isTracestate(tracestate)) dropFrom(forward, stateName);
}

/** @param list names and values, flat. @param names lower case. */
function dropFrom(list: string[], names: ReadonlySet<string>): void {
  const kept: string[] = [];
  for (let at = 0; at < list.length; at += 2) {
    const name = list[at] ?? '';
    if (!names.has(name.toLowerCase())) kept.push(name, list[at + 1] ?? '');
  }
  list.length = 0;
  list.push(...kept);
}

/** Header text of the agent inside our own sentence: a handful of plain characters, so that it cannot carry a secret or markup. */
function printable(text: string): string {
  return /^[a-z0-9-]{1,40}$/.test(text) ? text : 'that header';
}

function single(before: string | undefined, value: string, name: string): string {
  if (before !== undefined) throw malformed(`${name} is there more than once`);
  return value;
}

function malformed(detail: string): Refusal {
  return new Refusal('message_malformed', `${detail}.`);
}
