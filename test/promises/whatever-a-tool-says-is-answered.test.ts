import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openByteTool, type ByteTool } from '../stage/byte-tool.ts';
import type { Caller } from '../stage/caller.ts';
import { basic, dial, exchangeOn, requestBytes, type RawAnswer } from '../stage/raw-call.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

let tool: ByteTool;
let stage: WayInStage;
let caller: Caller;
let handle: string;

beforeAll(async () => {
  tool = await openByteTool();
  stage = await openWayIn({
    tools: { crm: { port: tool.port }, plain: { port: tool.port, token: false } },
    inbound: { forward_to: `http://127.0.0.1:${tool.port}` },
  });
  caller = await stage.caller();
  ({ handle } = await stage.task('alice', { subject_token: await stage.service.subjectToken({ aud: 'agent' }) }));
});
afterAll(async () => {
  await stage?.close();
  tool.close();
});

/** The same answer by every way on which an answer is passed on: screened, as it came, and of the program behind the way in. */
const ways: Record<string, () => Promise<Answered>> = {
  'of a tool with a credential': () => callOut('crm'),
  'of a tool without': () => callOut('plain'),
  'of the program': async () => answeredOn(dial(stage.to.address()), caller.bytes({ path: '/x' })),
};

interface Answered extends RawAnswer {
  /** The first line as it came. */
  readonly first: string;
}

function callOut(name: string, method = 'GET'): Promise<Answered> {
  const headers = { Host: `${name}.test`, 'Proxy-Authorization': basic(handle) };
  return answeredOn(dial(stage.sidecar.addresses.outbound), requestBytes(method, `http://${name}.test/x`, headers));
}

async function answeredOn(socket: ReturnType<typeof dial>, bytes: Buffer): Promise<Answered> {
  let first = '';
  socket.once('data', (chunk: Buffer) => (first = chunk.toString('latin1').split('\r\n')[0] ?? ''));
  try {
    return { ...(await exchangeOn(socket, bytes, 3000)), first };
  } finally {
    socket.destroy();
  }
}

const faults = (): Promise<number> => stage.sidecar.metric('waybill_faults_total');

/** How the newest call stands in the record. */
function recorded(): unknown {
  const { event, status, outcome } =
    stage.sidecar.events().findLast(({ event: name }) => String(name).startsWith('call.')) ?? {};
  return [event, status, outcome];
}

describe.for(Object.entries(ways))('W1: an answer %s reaches the agent', ([, call]) => {
  test.for([
    ['in UTF-8', 'Не найдено'],
    ['with a control character', 'N\u0001o'],
    ['with a DEL', 'N\u007fo'],
    ['that is no UTF-8', Buffer.from('N\xffo', 'latin1')],
    ['in Latin-1 by its code points', 'Non trouvé'],
  ] as const)('whatever its reason phrase is: one %s', async ([, phrase]) => {
    tool.answer = Buffer.concat([
      Buffer.from('HTTP/1.1 404 '),
      Buffer.from(phrase as string),
      Buffer.from('\r\nX-Kept: yes\r\nContent-Length: 2\r\n\r\nno'),
    ]);
    const answer = await call();
    expect([answer.first, answer.headers['x-kept'], answer.body]).toEqual(['HTTP/1.1 404 Not Found', 'yes', 'no']);
    await expect.poll(recorded).toEqual(['call.ended', 404, 'ok']);
    expect(await faults()).toBe(0);
  });

  test('with the phrase that it has, where that can be written, and with none', async () => {
    tool.answer = 'HTTP/1.1 200 Very well\r\nContent-Length: 2\r\n\r\nok';
    expect((await call()).first).toBe('HTTP/1.1 200 Very well');
    tool.answer = 'HTTP/1.1 299 Очень\r\nContent-Length: 2\r\n\r\nok';
    expect((await call()).first).toBe('HTTP/1.1 299 ');
  });
});

/** Bytes that a grammar of HTTP treats each in its own way. */
const odd = [...Array(33).keys(), 34, 58, 59, 64, 92, 123, 127, 128, 133, 160, 195, 255];
/** Where a tool may put one. */
const places: Record<string, (byte: string) => string> = {
  'the reason phrase': (byte) => `HTTP/1.1 200 O${byte}K\r\nContent-Length: 2\r\n\r\nok`,
  'a name': (byte) => `HTTP/1.1 200 OK\r\nX-${byte}A: a\r\nContent-Length: 2\r\n\r\nok`,
  'a value': (byte) => `HTTP/1.1 200 OK\r\nX-A: a${byte}b\r\nContent-Length: 2\r\n\r\nok`,
  'a length': (byte) => `HTTP/1.1 200 OK\r\nContent-Length: 2${byte}\r\n\r\nok`,
  'a cookie': (byte) =>
    `HTTP/1.1 200 OK\r\nSet-Cookie: a=${byte}b; Path=/${byte}; Domain=${byte}\r\nContent-Length: 2\r\n\r\nok`,
  'a challenge': (byte) =>
    `HTTP/1.1 401 No\r\nDPoP-Nonce: n${byte}\r\nWWW-Authenticate: DPoP ${byte} error="use_dpop_nonce"\r\nContent-Length: 0\r\n\r\n`,
  'the name of a trailer': (byte) => trailing(`X-${byte}T: t`),
  'the value of a trailer': (byte) => trailing(`X-T: a${byte}b`),
};
const trailing = (line: string): string =>
  `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n${line}\r\n\r\n`;

describe.for(Object.entries(ways))('W1: an answer %s is no fault of ours', ([, call]) => {
  test.for(Object.entries(places))('with any byte in %s', async ([, place]) => {
    const before = await faults();
    for (const byte of odd) {
      tool.answer = Buffer.from(place(String.fromCharCode(byte)), 'latin1');
      // What is no HTTP is refused; what is found behind a head that went on already cuts the connection.
      const answer = await call().catch(() => undefined);
      expect([200, 401, 502, undefined]).toContain(answer?.status);
      if (answer?.status === 502) expect(answer.code).toMatch(/^(?:upstream_unreachable|credential_refused)$/);
    }
    expect((await faults()) - before).toBe(0);
  });

  test('with any number as status, and with interim answers before it', async () => {
    for (const status of ['000', '099', '100', '101', '199', '204', '304', '418', '599', '600', '999']) {
      tool.answer = `HTTP/1.1 ${status} Да\r\nContent-Length: 0\r\n\r\n`;
      if (status === '199') tool.answer += 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
      const { status: told } = await call();
      const expected = Number(status) < 199 ? 502 : Number(status) === 199 ? 200 : Number(status);
      expect([status, told]).toEqual([status, expected]);
    }
    tool.answer = 'HTTP/1.1 103 Подсказки\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
    expect((await call()).body).toBe('ok');
    expect(await faults()).toBe(0);
  });
});

/** The credential of the tool under these lines of `Transfer-Encoding`, each the last one in chunks. */
function codedAnswer(codings: readonly string[]): Buffer {
  const body = gzipSync(/authorization: (.+)\r/i.exec(tool.seen.join(''))?.[1] ?? 'nothing');
  const lines = codings.map((coding) => `Transfer-Encoding: ${coding}\r\n`);
  return Buffer.concat([
    Buffer.from(`HTTP/1.1 200 OK\r\n${lines.join('')}\r\n${body.length.toString(16)}\r\n`),
    body,
    Buffer.from('\r\n0\r\n\r\n'),
  ]);
}

describe.for(Object.entries(ways))('W1, W3: an answer %s in a transfer coding', ([name, call]) => {
  test.for([
    [['gzip, chunked']],
    [['GZIP', 'Chunked']],
    [['chunked, gzip']],
    [['gzip']],
    [['chunked', 'chunked']],
    [['chunked;a=b']],
    [['chunked \t']],
  ])('does not go on, where it is not one `chunked`: %j', async ([codings = []]) => {
    tool.answer = codedAnswer(codings);
    const code = name === 'of a tool with a credential' ? 'answer_unreadable' : 'upstream_unreachable';
    const answer = await call();
    expect([answer.status, answer.code]).toEqual([502, code]);
    await expect.poll(recorded).toEqual(['call.ended', 502, 'upstream_error']);
  });

  test('goes on in chunks, however they are written, and without a body', async () => {
    for (const coding of ['chunked', 'Chunked', ' chunked  ']) {
      tool.answer = `HTTP/1.1 200 OK\r\nTransfer-Encoding: ${coding}\r\n\r\n2\r\nok\r\n0\r\n\r\n`;
      expect((await call()).body).toBe('ok');
    }
    tool.answer = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nX-Kept: yes\r\n\r\n';
    for (const of of ['crm', 'plain']) expect((await callOut(of, 'HEAD')).headers['x-kept']).toBe('yes');
    expect(await faults()).toBe(0);
  });
});
