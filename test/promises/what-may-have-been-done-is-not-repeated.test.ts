import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openByteTool, type ByteTool } from '../stage/byte-tool.ts';
import type { Caller } from '../stage/caller.ts';
import { freePort } from '../stage/free-port.ts';
import { basic, callThrough, type RawAnswer } from '../stage/raw-call.ts';
import { openScriptedTool, type ScriptedTool } from '../stage/scripted-tool.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';
import { openWire } from '../stage/wire.ts';

let tool: ByteTool;
/** Takes requests and never answers. */
let silent: ScriptedTool;
let secure: ScriptedTool;
let stage: WayInStage;
let caller: Caller;
let handle: string;

beforeAll(async () => {
  tool = await openByteTool();
  silent = await openScriptedTool((request) => request.resume());
  secure = await openScriptedTool((_request, response) => response.end(), await makeToolCertificate('secure.test'));
  const { ca } = await makeToolCertificate('secure.test');
  stage = await openWayIn({
    tools: {
      crm: { port: tool.port },
      plain: { port: tool.port, token: false },
      silent: { port: silent.port },
      away: { port: await freePort() },
      secure: { port: secure.port, ca },
    },
    inbound: { forward_to: `http://127.0.0.1:${tool.port}` },
  });
  caller = await stage.caller();
  ({ handle } = await stage.task('alice', { subject_token: await stage.service.subjectToken({ aud: 'agent' }) }));
});
afterAll(async () => {
  await stage?.close();
  await Promise.all([silent.close(), secure.close()]);
  tool.close();
});

type Send = (method: string) => Promise<RawAnswer>;

const callOut = (name: string, method: string): Promise<RawAnswer> =>
  callThrough(stage.sidecar.addresses.outbound, `http://${name}.test/pay`, { method, handle, body: 'amount=5' });
const ways: Record<string, Send> = {
  'a tool with a credential': (method) => callOut('crm', method),
  'a tool without': (method) => callOut('plain', method),
  'the program behind the way in': (method) => caller.send({ method, path: '/pay', body: 'amount=5' }),
};

/** What a refusal says to whoever thinks of sending the request again. */
function advice(answer: RawAnswer): { status: number; code: string | undefined; retryable: boolean; hint: string } {
  const { retryable, hint } = JSON.parse(answer.body) as { retryable: boolean; hint: string };
  return { status: answer.status, code: answer.code, retryable, hint };
}

const mayBeDone = { retryable: false, hint: expect.stringMatching(/^It may have been done already\. Look /) };
const later = { status: 502, code: 'upstream_unreachable', retryable: true, hint: expect.stringMatching(/^Try again/) };

/** What comes of a request that arrived whole. */
const ends: Record<string, ByteTool['answer']> = {
  'nothing, and the end of the connection': undefined,
  'an answer with a control character': 'HTTP/1.1 201 Created\r\nX-A: a\u0001b\r\nContent-Length: 2\r\n\r\nok',
  'an answer of two lengths': 'HTTP/1.1 201 Created\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok',
  'no HTTP': 'SSH-2.0-OpenSSH_9.2\r\n',
  'a status that is none': 'HTTP/1.1 099 No\r\nContent-Length: 2\r\n\r\nok',
  'another protocol': 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n',
  'a head beyond all size': `HTTP/1.1 201 Created\r\nX-Pad: ${'x'.repeat(100_000)}\r\n\r\n`,
};

describe.for(Object.entries(ways))('W1: of a call that %s had, and did not answer', ([, send]) => {
  test.for(Object.entries(ends))('nobody is told to send it again: %s', async ([, answer]) => {
    tool.answer = answer;
    for (const method of ['POST', 'PATCH', 'PROPPATCH']) {
      tool.seen.length = 0;
      expect(advice(await send(method))).toEqual({ status: 502, code: 'upstream_unreachable', ...mayBeDone });
      expect(tool.seen.length).toBe(1);
    }
  });

  test('the detail does not say that it was not reached', async () => {
    tool.answer = undefined;
    const { detail } = JSON.parse((await send('POST')).body) as { detail: string };
    expect(detail).toBe('The connection ended before there was an answer that can be read.');
  });

  test('a 100 Continue that nobody asked for is told as what it is', async () => {
    tool.answer = 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok';
    const answer = await send('POST');
    expect(advice(answer)).toEqual({ status: 502, code: 'upstream_unreachable', ...mayBeDone });
    expect(JSON.parse(answer.body)).toMatchObject({
      detail: 'The answer began with a 100 Continue that was not asked for; what followed it could not be read.',
    });
  });

  test('it may be sent again where that does the work once (RFC 9110 9.2.2)', async () => {
    tool.answer = undefined;
    for (const method of ['GET', 'OPTIONS', 'PUT', 'DELETE'])
      expect([method, advice(await send(method))]).toEqual([method, later]);
  });
});

test('W1: an answer that cannot be screened is no reason to send a payment twice', async () => {
  tool.answer = 'HTTP/1.1 201 Created\r\nContent-Encoding: zip\r\nContent-Length: 2\r\n\r\nok';
  const refused = { status: 502, code: 'answer_unreadable' };
  expect(advice(await callOut('crm', 'POST'))).toEqual({ ...refused, ...mayBeDone });
  expect(advice(await callOut('crm', 'GET'))).toMatchObject({ ...refused, hint: expect.stringMatching(/^Ask for/) });
});

test('W1: a call that left for nobody may be sent again, whatever its method is', async () => {
  expect(advice(await callOut('away', 'POST'))).toEqual(later);
});

test('W1: a certificate that is not good is told as that: nothing was sent', async () => {
  const answer = await callThrough(stage.sidecar.addresses.outbound, 'https://secure.test/pay', {
    method: 'POST',
    handle,
    body: 'amount=5',
  });
  expect(advice(answer)).toMatchObject({ code: 'upstream_tls', hint: expect.stringMatching(/^Do not try other ways/) });
});

test('W1: a tool that refuses the credential has done nothing', async () => {
  tool.answer = 'HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer error="invalid_token"\r\nContent-Length: 0\r\n\r\n';
  expect(advice(await callOut('crm', 'POST'))).toMatchObject({ code: 'credential_refused', retryable: true });
});

const upload = (): string =>
  `POST http://silent.test/up HTTP/1.1\r\nHost: silent.test\r\nProxy-Authorization: ${basic(handle)}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`;
const told = (received: string) => JSON.parse(received.slice(received.indexOf('{'))) as Record<string, unknown>;

test('W1: of a request that went in part, too, nobody knows what was done', async () => {
  silent.requests.length = 0;
  const to = { outbound: stage.sidecar.addresses.outbound, handle, plainHost: 'silent.test', tlsHost: '', ca: '' };
  const dropped = await openWire('absolute-form', to);
  dropped.socket.write(upload());
  await eventually('the tool is called', () => silent.requests.length === 1);
  silent.requests[0]?.socket.destroy();
  await dropped.until('"retryable":');
  expect(told(dropped.received)).toMatchObject({ code: 'upstream_unreachable', ...mayBeDone });
  dropped.socket.destroy();

  // What the agent did wrong is told as well.
  const leaking = await openWire('absolute-form', to);
  leaking.socket.write(upload());
  await eventually('the tool is called', () => silent.requests.length === 2);
  leaking.socket.write(`${handle.length.toString(16)}\r\n${handle}\r\n0\r\n\r\n`);
  await leaking.until('"retryable":');
  expect(told(leaking.received)).toMatchObject({
    code: 'credential_leak',
    retryable: false,
    hint: expect.stringMatching(/^Send the handle as a credential only.* It may have been done already\. Look /),
  });
  leaking.socket.destroy();
});
