import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { readErrorCode, readRetryAfter } from '../../proxy/exchange/service-refusal.ts';
import { checkScopes } from '../../proxy/exchange/check-answer.ts';
import { parseChain } from '../../proxy/delegation/chain.ts';
import { readLink } from '../../proxy/delegation/link.ts';
import { Jar } from '../../proxy/forward/cookies/jar.ts';
import { readChallenge, readReplyHeaders, readTrailers } from '../../proxy/forward/reply-headers.ts';
import { decodersFor } from '../../proxy/forward/screen/decoding.ts';
import { screenFor } from '../../proxy/forward/screen/screen.ts';
import { SecretIndex } from '../../proxy/forward/screen/secret-index.ts';
import { parseAuthority } from '../../proxy/intercept/authority.ts';
import { readHeaders } from '../../proxy/intercept/header-list.ts';
import { headerClassifier } from '../../proxy/intercept/header-names.ts';
import { compilePathPattern } from '../../proxy/intercept/path-pattern.ts';
import { readLoosePath, readRuledPath } from '../../proxy/intercept/path.ts';
import { readOwnTarget, readProxyTarget } from '../../proxy/intercept/target.ts';
import { isTraceparent, isTracestate, ownTraceIn, withoutOwnTrace } from '../../proxy/intercept/trace-context.ts';
import { originOf } from '../../proxy/intercept/origin.ts';
import { claimHeaders } from '../../proxy/present/claim-headers.ts';
import { withoutToken } from '../../proxy/present/token-copies.ts';
import { withTraceMark } from '../../proxy/present/trace-context.ts';
import { isSameTarget } from '../../proxy/proofs/htu.ts';
import { readDpopProof } from '../../proxy/proofs/dpop-check.ts';
import { isProcessLogLine, parseEventLine } from '../../proxy/record/event-line.ts';
import { classifyAddress } from '../../proxy/route/address-class.ts';
import { parseBundleDocument } from '../../proxy/spiffe/bundle-document.ts';
import { checkJwtSvid } from '../../proxy/spiffe/jwt-svid-check.ts';
import { parseMembers } from '../../proxy/spiffe/strict-members.ts';
import { HandleBook } from '../../proxy/tasks/handle.ts';
import {
  findHandleText,
  handleTextsIn,
  mayHoldHandle,
  mayHoldToken,
  standsAlone,
} from '../../proxy/tasks/handle-text.ts';
import { readSecurityEvent } from '../../proxy/trust/security-event.ts';
import { parseStrictJson } from '../../proxy/trust/strict-json.ts';
import { readStrictJws } from '../../proxy/trust/strict-jws.ts';
import { readCallerCredential } from '../../proxy/verify/credential.ts';
import { checkQuery } from '../../proxy/verify/second-token.ts';
import { attempt, longest, mostMs, timed, worstTexts } from '../stage/slow-texts.ts';
import { tries } from '../stage/tries.ts';

const out = headerClassifier(new Set(['x-key']));
const inward = headerClassifier(new Set(['dpop', 'waybill-delegation', 'txn-token']));
const handles = new HandleBook(randomBytes);
const secrets = new SecretIndex(handles.prefix, 'wbt_abcdefgh');
const screened = [{ reveal: () => `eyJh.eyJp.${randomBytes(64).toString('base64url')}` }];
const origin = originOf('https', 'a.test', 443);
const own = { address: '127.0.0.1', port: 15_001 };
const patterns = ['/api/*/x/**', '/**/a*b*c/*', '/*a*/**/b'].map(compilePathPattern);
const noHeaders = readHeaders([], out);
const reply = (body: string) => ({
  status: 400,
  headers: { 'content-type': 'application/json', 'retry-after': body },
  body,
});
const trailer = (text: string): string => `x-${text}`;

/** Readers of text of an agent or a caller. */
const ofRequests: Readonly<Record<string, (text: string) => unknown>> = {
  mayHoldToken,
  mayHoldHandle,
  standsAlone,
  handleTextsIn,
  findHandleText,
  'handles.carries': (text) => handles.carries(text),
  isTraceparent,
  isTracestate,
  ownTraceIn,
  withoutOwnTrace,
  withTraceMark: (text) => withTraceMark(['traceparent', 'x', 'tracestate', text], 'wbt_x', randomBytes),
  'readHeaders, values': (text) =>
    ['Connection', 'Via', 'tracestate', 'traceparent', 'Authorization', 'Content-Length', 'X'].map((name) =>
      attempt(() => readHeaders([name, text], out)),
    ),
  'readHeaders, a name': (text) => readHeaders([text, text], out),
  readCallerCredential: (text) => readCallerCredential(readHeaders(['Authorization', text, 'DPoP', text], inward)),
  readRuledPath,
  readLoosePath,
  'path patterns': (text) => patterns.map((pattern) => pattern.matches(text)),
  readProxyTarget: (text) => readProxyTarget(text, noHeaders, own),
  readOwnTarget: (text) => readOwnTarget(text, noHeaders, origin, { ...own, serverName: undefined }),
  parseAuthority,
  classifyAddress,
  isSameTarget: (text) => [isSameTarget(text, origin.text, '/x'), isSameTarget('https://a.test/x', origin.text, text)],
  readDpopProof,
  readStrictJws,
  readSecurityEvent,
  checkJwtSvid: (text) => checkJwtSvid(text, 'a', () => undefined, 0),
  parseStrictJson,
  parseMembers: (text) => parseMembers(Buffer.from(text, 'latin1')),
  parseChain: (text) => parseChain(text, { maxBytes: longest * 2, maxLinks: 5 }),
  readLink,
  withoutToken: (text) => withoutToken(['Cookie', text, 'X', text], 'ey.ey.ey'),
  'withoutToken, a name': (text) => withoutToken([text, 'x'], 'eyeyey%41'),
  checkQuery: (text) =>
    checkQuery({ target: { path: `/?${text}` } } as Parameters<typeof checkQuery>[0], 'ey.ey.ey%41'),
  claimHeaders: (text) => claimHeaders({ caller: text } as Parameters<typeof claimHeaders>[0]),
  'secrets.findsEscaped': (text) =>
    secrets.findsEscaped(Buffer.from(text, 'latin1'), { handles: true, marks: true, tokens: true }),
  parseEventLine,
  isProcessLogLine: (text) => isProcessLogLine(Buffer.from(text, 'latin1')),
};

/** Readers of text of a tool or a token service. */
const ofReplies: Readonly<Record<string, (text: string) => unknown>> = {
  readChallenge: (text) => [readChallenge(text, 'n'), readChallenge(text, undefined)],
  'readReplyHeaders, values': (text) =>
    ['Connection', 'WWW-Authenticate', 'DPoP-Nonce', 'Set-Cookie', 'X'].map((name) =>
      readReplyHeaders([name, text, 'A', 'b'], true),
    ),
  'readReplyHeaders, a name': (text) => readReplyHeaders([Buffer.from(text, 'latin1'), Buffer.from('')], true),
  readTrailers: (text) => readTrailers({ [trailer(text)]: text }),
  decodersFor: (text) => decodersFor([text]),
  'screenFor, text': (text) => screenFor(screened).text(text),
  'a jar': (text) => {
    const jar = new Jar();
    jar.add([text, text.slice(0, 8000)], 'https://a.test/', 0);
    return jar.values();
  },
  readErrorCode: (text) => readErrorCode(reply(text)),
  readRetryAfter: (text) => readRetryAfter(reply(text).headers),
  checkScopes: (text) => checkScopes(text, ['a', 'b']),
  parseBundleDocument: (text) => parseBundleDocument(Buffer.from(text, 'latin1')),
};

test.for(Object.entries({ ...ofRequests, ...ofReplies }))(
  'W1: %s reads any text in no time',
  { timeout: 120_000 },
  ([, read]) => {
    const slow = worstTexts.find(({ text }) => timed(() => read(text)) > mostMs);
    expect(slow?.what).toBe(undefined);
  },
);

/** As many headers as fit, and as many names in `Connection`. */
const flat = (count: number, pair: (at: number) => readonly [string, string]): string[] =>
  Array.from({ length: count }, (_none, at) => pair(at)).flat();
const letters = (at: number): string => `a${at.toString(36)}`;
const options = Array.from({ length: 6000 }, (_none, at) => at.toString(36)).join();
/** `wbh` as a list of numbers, which nothing of a handle follows. */
const beginnings = Buffer.alloc(1_000_000, '119,98,1!!!!');

test.for<[string, () => unknown]>([
  [
    'many headers and what they nominate',
    () => readHeaders(['Connection', options, ...flat(2000, (at) => [letters(at), ''])], out),
  ],
  [
    'many proofs',
    () =>
      readHeaders(
        flat(4000, () => ['DPoP', 'x']),
        inward,
      ),
  ],
  [
    'many lines of a trace',
    () =>
      readHeaders(
        flat(2000, () => ['tracestate', 'waybill=x']),
        inward,
      ),
  ],
  [
    'many lines of Via',
    () =>
      readHeaders(
        flat(4000, () => ['Via', 'x']),
        out,
      ),
  ],
  [
    'many answers’ headers',
    () => readReplyHeaders(['Connection', options, ...flat(6000, (at) => [letters(at), ''])], true),
  ],
  [
    'many lines of Connection',
    () =>
      readReplyHeaders(
        flat(4000, (at) => ['Connection', letters(at)]),
        true,
      ),
  ],
  [
    'many challenges',
    () =>
      readReplyHeaders(
        flat(4000, () => ['WWW-Authenticate', 'dpop']),
        true,
      ),
  ],
  [
    'many beginnings of a handle in a body',
    () => secrets.finds(beginnings, { handles: true, marks: true, tokens: true }),
  ],
])('W1: %s are read in no time', tries, ([, read]) => {
  expect(timed(read)).toBeLessThan(mostMs);
});
