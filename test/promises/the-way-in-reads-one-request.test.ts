import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Caller, CallerRequest } from '../stage/caller.ts';
import { exchangeOn } from '../stage/raw-call.ts';
import { type Attack, expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';
import { Wire } from '../stage/wire.ts';

let stage: WayInStage;
let caller: Caller;
/** A connection that says nothing, and one that never comes to the end of its headers: both from the beginning on. */
let silent: Wire;
let slow: Wire;
let drip: NodeJS.Timeout;
let started = 0;

beforeAll(async () => {
  stage = await openWayIn({
    sections: { rules: [{ name: 'no-admin', effect: 'deny', when: 'call.path == "/admin"' }] },
  });
  caller = await stage.caller();
  started = performance.now();
  silent = new Wire(await caller.connect());
  slow = new Wire(await caller.connect());
  slow.socket.write('GET /slow HTTP/1.1\r\nHost: agent.localhost\r\n');
  drip = setInterval(() => slow.socket.write('X-A: 1\r\n'), 1000);
});
afterAll(() => stage?.close());

const host: readonly [string, string] = ['Host', 'agent.localhost'];
/** Each is a request with good credentials: whatever is refused, is refused for how it is written. */
const attack = (code: string, what: string, request: CallerRequest): Attack => ({
  what,
  code,
  send: () => caller.send({ path: '/x', ...request }),
});
const framed = (
  code: string,
  what: string,
  lines: readonly (readonly [string, string])[],
  body = 'hello',
  method = 'POST',
): Attack => attack(code, what, { method, framing: lines, body });
const malformed = 'message_malformed';

test('framing: of two lengths, hosts or codings none is chosen', async () => {
  const chunked = '5\r\nhello\r\n0\r\n\r\n';
  await expectEachRefused(stage, [
    framed(malformed, 'two Hosts', [host, host], '', 'GET'),
    framed(malformed, 'two Hosts that differ', [host, ['Host', 'evil.org']], '', 'GET'),
    framed(malformed, 'no Host', [], '', 'GET'),
    framed(malformed, 'an empty Host', [['Host', '']], '', 'GET'),
    framed(malformed, 'a Host with user', [['Host', 'agent.localhost@evil.org']], '', 'GET'),
    framed(malformed, 'a Host with path', [['Host', 'agent.localhost/x']], '', 'GET'),
    framed(
      malformed,
      'Content-Length and Transfer-Encoding',
      [host, ['Content-Length', '5'], ['Transfer-Encoding', 'chunked']],
      chunked,
    ),
    framed(
      malformed,
      'the same, the other way round',
      [host, ['Transfer-Encoding', 'chunked'], ['Content-Length', '5']],
      chunked,
    ),
    framed(malformed, 'two lengths', [host, ['Content-Length', '5'], ['Content-Length', '6']]),
    framed(malformed, 'two equal lengths', [host, ['Content-Length', '5'], ['Content-Length', '5']]),
    framed(malformed, 'a list of lengths', [host, ['Content-Length', '5, 5']]),
    framed(malformed, 'a length with a sign', [host, ['Content-Length', '+5']]),
    framed(malformed, 'a length in hex', [host, ['Content-Length', '0x5']]),
    framed(malformed, 'a length below zero', [host, ['Content-Length', '-5']]),
    framed(malformed, 'an empty length', [host, ['Content-Length', '']]),
    framed(malformed, 'two codings', [host, ['Transfer-Encoding', 'gzip, chunked']], chunked),
    framed(
      malformed,
      'chunked twice',
      [host, ['Transfer-Encoding', 'chunked'], ['Transfer-Encoding', 'chunked']],
      chunked,
    ),
    framed(malformed, 'identity', [host, ['Transfer-Encoding', 'identity']]),
    framed(malformed, 'chunked, quoted', [host, ['Transfer-Encoding', '"chunked"']], chunked),
    framed(malformed, 'chunked with a space in it', [host, ['Transfer-Encoding', 'chun ked']], chunked),
    framed(malformed, 'chunked in another spelling of its name', [host, ['Transfer-Encoding ', 'chunked']], chunked),
  ]);
});

test('framing: junk in a chunked body reaches nobody', async () => {
  const bodies = {
    'no size': '\r\nhello\r\n0\r\n\r\n',
    'a size that is no number': 'zz\r\nhello\r\n0\r\n\r\n',
    'a size with a sign': '+5\r\nhello\r\n0\r\n\r\n',
    'a size in another notation': '0x5\r\nhello\r\n0\r\n\r\n',
    'a size without end': 'fffffffffffffffff\r\nhello\r\n0\r\n\r\n',
    'more than its size': '4\r\nhello\r\n0\r\n\r\n',
    'no end of the chunk': '5\r\nhelloGET / HTTP/1.1\r\n\r\n',
    'a bare line feed': '5\nhello\n0\n\n',
    'a NUL': '5\u0000\r\nhello\r\n0\r\n\r\n',
  };
  const lines = [host, ['Transfer-Encoding', 'chunked'] as const];
  await expectEachRefused(
    stage,
    Object.entries(bodies).map(([what, body]) => framed(malformed, what, lines, body)),
  );
  await expectPasses(stage, 'chunked as it should be', () =>
    caller.send({ method: 'POST', framing: lines, body: '3\r\nhel\r\n2;ext=1\r\nlo\r\n0\r\n\r\n' }),
  );
  expect(stage.program.seen.at(-1)?.body.toString()).toBe('hello');
});

test('framing: header lines that readers disagree on', async () => {
  const raw = (what: string, change: (head: string) => string, code = malformed): Attack => ({
    what,
    code,
    send: () => caller.sendBytes(Buffer.from(change(caller.bytes({ path: '/x' }).toString('latin1')), 'latin1')),
  });
  await expectEachRefused(stage, [
    raw('a folded line', (head) => head.replace('\r\nDPoP', '\r\nX-A: 1\r\n 2\r\nDPoP')),
    raw('a space before the colon', (head) => head.replace('DPoP: ', 'DPoP : ')),
    raw('a bare line feed', (head) => head.replace('\r\nDPoP', '\nDPoP')),
    raw('a bare carriage return', (head) => head.replace('\r\nDPoP', '\r\nX-A: 1\r2\r\nDPoP')),
    raw('a NUL in a value', (head) => head.replace('\r\nDPoP', '\r\nX-A: 1\u00002\r\nDPoP')),
    raw('a line without colon', (head) => head.replace('\r\nDPoP', '\r\nX-A\r\nDPoP')),
    raw('a name with a space', (head) => head.replace('\r\nDPoP', '\r\nX A: 1\r\nDPoP')),
    raw('HTTP/0.9', (head) => head.replace(' HTTP/1.1', '')),
    raw('HTTP/2.0', (head) => head.replace('HTTP/1.1', 'HTTP/2.0')),
    raw('HTTP/1.2', (head) => head.replace('HTTP/1.1', 'HTTP/1.2')),
    raw('a method in lower case', (head) => head.replace('GET', 'get')),
    raw('a fragment in the target', (head) => head.replace(' /x ', ' /x#y ')),
    raw('a target beyond ASCII', (head) => head.replace(' /x ', ' /\u00e9 ')),
    raw('a backslash before the path', (head) => head.replace(' /x ', ' \\x ')),
    raw('two Authorizations', (head) => head.replace('\r\nDPoP', '\r\nAuthorization: DPoP x\r\nDPoP')),
    raw('an expectation that nobody knows', (head) => head.replace('\r\nDPoP', '\r\nExpect: 200-ok\r\nDPoP')),
    raw(
      'DPoP named in Connection',
      (head) => head.replace('\r\nDPoP', '\r\nConnection: dpop\r\nDPoP'),
      'header_forbidden',
    ),
    raw(
      'Authorization named in Connection',
      (head) => head.replace('\r\nDPoP', '\r\nConnection: close, authorization\r\nDPoP'),
      'header_forbidden',
    ),
  ]);
});

test('W2: another authority than our own is misdirected, 421, before the token is looked at', async () => {
  const token = 'not.even.one';
  const of = (what: string, request: CallerRequest): Attack =>
    attack('authority_mismatch', what, { token, ...request });
  const absolute = (url: string): Attack => ({
    what: url,
    code: 'authority_mismatch',
    send: () =>
      caller.sendBytes(
        Buffer.from(caller.bytes({ path: '/x', token }).toString('latin1').replace(' /x ', ` ${url} `), 'latin1'),
      ),
  });
  const fetched = stage.service.counts.jwks;
  await expectEachRefused(stage, [
    of('another Host', { framing: [['Host', 'evil.org']] }),
    of('another port', { framing: [['Host', 'agent.localhost:8080']] }),
    of('a part of the name', { framing: [['Host', 'localhost']] }),
    of('a name below', { framing: [['Host', 'a.agent.localhost']] }),
    of('the loopback address without our port', { framing: [['Host', '127.0.0.1']] }),
    of('the metadata address', { framing: [['Host', '169.254.169.254']] }),
    absolute('http://evil.org/x'),
    absolute('https://agent.localhost/x'),
    absolute('http://agent.localhost:81/x'),
  ]);
  expect(stage.service.counts.jwks).toBe(fetched);
  for (const name of ['AGENT.localhost', 'agent.localhost.', 'agent.localhost:80']) {
    await expectPasses(stage, name, () => caller.send({ framing: [['Host', name]] }));
    expect(stage.program.seen.at(-1)?.headers.host).toBe('agent.localhost');
  }
});

test('W2: where rules read the path, one that a program could read otherwise is refused', async () => {
  const paths = [
    '/a/../admin',
    '/./admin',
    '//admin',
    '/a;/admin',
    '/%2e%2e/admin',
    '/a%2fadmin',
    '/a%5cadmin',
    '/%252e',
    '/%zz',
    '/a\\admin',
    '/admin%00',
  ];
  await expectEachRefused(
    stage,
    paths.map((path) => attack('path_ambiguous', path, { path })),
  );
  for (const path of ['/admin', '/%61dmin', '/adm%69n'])
    expect([path, (await caller.send({ path })).code]).toEqual([path, 'denied_by_rule']);
});

describe('connections', () => {
  const refusedHead = async (bytes: string, limitMs = 3000): Promise<string> => {
    const socket = await caller.connect();
    const answer = await exchangeOn(socket, Buffer.from(bytes, 'latin1'), limitMs).catch(() => undefined);
    const open = !socket.destroyed && !socket.readableEnded;
    socket.destroy();
    return `${answer?.status ?? 'cut'} ${answer?.code ?? ''} ${open && answer?.headers['connection'] !== 'close' ? 'open' : 'closed'}`;
  };

  test('CONNECT is refused, and HTTP/2 without TLS is not understood', async () => {
    const seen = stage.program.seen.length;
    expect(await refusedHead('CONNECT evil.org:443 HTTP/1.1\r\nHost: evil.org:443\r\n\r\n')).toBe(
      '400 message_malformed closed',
    );
    expect(await refusedHead('CONNECT agent.localhost:80 HTTP/1.1\r\nHost: agent.localhost:80\r\n\r\n')).toBe(
      '400 message_malformed closed',
    );
    expect(await refusedHead('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')).toMatch(/^400 message_malformed closed$/);
    expect(await refusedHead('OPTIONS * HTTP/1.1\r\nHost: agent.localhost\r\n\r\n')).toMatch(/^400 message_malformed/);
    expect(stage.program.seen.length).toBe(seen);
    // An offer to go on as HTTP/2 or WebSocket is not taken up; the request is answered as it is.
    for (const upgrade of ['h2c', 'websocket']) {
      const headers = [
        ['Connection', 'Upgrade, HTTP2-Settings'],
        ['Upgrade', upgrade],
        ['HTTP2-Settings', 'AAMAAABkAAQAoAAAAAIAAAAA'],
      ] as const;
      await expectPasses(stage, upgrade, () => caller.send({ headers }));
      expect(stage.program.seen.at(-1)?.headers).not.toHaveProperty('upgrade');
    }
  });

  test('limits: headers of more than 32 KiB are refused', async () => {
    const seen = stage.program.seen.length;
    const long = caller.bytes({ headers: [['X-Long', 'x'.repeat(40_000)]] });
    expect(await refusedHead(long.toString('latin1'))).toMatch(/^413 body_too_large closed/);
    const many = caller.bytes({ headers: Array.from({ length: 4000 }, (_, at) => [`X-${at}`, 'x'] as const) });
    expect(await refusedHead(many.toString('latin1'))).toMatch(/^4(?:13 body_too_large|31) closed/);
    expect(stage.program.seen.length).toBe(seen);
  });

  test('limits: who is slow with a first byte or with headers is cut', { timeout: 60_000 }, async () => {
    await Promise.all([silent.untilClosed(50_000), slow.untilClosed(50_000)]);
    clearInterval(drip);
    for (const { closedAt = 0 } of [silent, slow]) expect(closedAt - started).toBeGreaterThan(15_000);
    expect(slow.received).toMatch(/^(?:HTTP\/1\.1 4\d\d |$)/);
    expect(stage.program.seen.filter(({ path }) => path === '/slow')).toEqual([]);
  });
});
