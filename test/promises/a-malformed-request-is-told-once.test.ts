import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { dial, exchangeRaw } from '../stage/raw-call.ts';
import { expectEachRefused, expectPasses, refusalCounts } from '../stage/refused-way-in.ts';
import { removeFolder, startSidecar, type SidecarProcess } from '../stage/sidecar-process.ts';
import { openWayIn } from '../stage/way-in-stage.ts';

let tool: EchoTool;
let sidecar: SidecarProcess;

beforeAll(async () => {
  tool = await openEchoTool();
  sidecar = await startSidecar(`
tools: { open: { match: { host: open.test }, dial: "127.0.0.1:${tool.port}" } }
rules: [ { name: all, effect: allow, when: 'true' } ]
`);
});

afterAll(async () => {
  await sidecar.stop();
  removeFolder(sidecar.dir);
  await tool.close();
});

const head = 'Host: open.test\r\nTransfer-Encoding: chunked\r\n\r\n';
const rows: Readonly<Record<string, string>> = {
  'a broken chunk': `POST http://open.test/ HTTP/1.1\r\n${head}5\r\nhello\r\nZZ\r\n`,
  'a chunk of another length': `POST http://open.test/ HTTP/1.1\r\n${head}3\r\nhello\r\n0\r\n\r\n`,
  'two lengths':
    'POST http://open.test/ HTTP/1.1\r\nHost: open.test\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!',
  'two hosts, with bytes behind':
    'GET http://open.test/ HTTP/1.1\r\nHost: open.test\r\nHost: other.test\r\n\r\nrest of it',
  'no request at all': 'hello there\r\n\r\n',
};

describe('W1, W2: a malformed request is refused with 400, recorded and counted once, and reaches nobody', () => {
  test.for(Object.entries(rows))('%s', async ([, bytes]) => {
    const series = 'waybill_refusals_total{way="out",stage="intercept",code="message_malformed"}';
    const before = { count: await sidecar.metric(series), events: refusals().length };
    const answer = await exchangeRaw(sidecar.addresses.outbound, Buffer.from(bytes, 'latin1'));
    expect([answer.status, answer.code]).toEqual([400, 'message_malformed']);
    // Twice would come a turn of the loop later.
    await sleep(100);
    expect({ count: await sidecar.metric(series), events: refusals().length }).toEqual({
      count: before.count + 1,
      events: before.events + 1,
    });
    expect(tool.seen).toEqual([]);
  });
});

test('W1: on the way in too, whatever else is wrong with it', async () => {
  const stage = await openWayIn();
  try {
    const caller = await stage.caller();
    await expectPasses(stage, 'call', () => caller.send({ path: '/x' }));
    const wrongs = {
      proof_wrong_method: { proof: caller.proofFor({ path: '/x' }) },
      proof_missing: { proof: null },
      token_invalid: { token: `${caller.token}A` },
    };
    const attacks = Object.entries(wrongs).map(([what, wrong]) => ({
      what,
      code: 'message_malformed',
      send: () => {
        const whole = caller.bytes({ method: 'POST', path: '/x', framing: [], ...wrong }).toString('latin1');
        const text = whole.replace('\r\n', `\r\n${head.slice(0, -2).replace('open.test', 'agent.localhost')}`);
        return exchangeRaw(stage.sidecar.addresses.inbound ?? '', Buffer.from(`${text}5\r\nhello\r\nZZ\r\n`, 'latin1'));
      },
    }));
    await expectEachRefused(stage, attacks);
    await sleep(100);
    expect([...(await refusalCounts(stage.sidecar)).keys()]).not.toContain('replay proof_wrong_method proven');
  } finally {
    await stage.close();
  }
});

function refusals(): unknown[] {
  return sidecar.events().filter((event) => event['code'] === 'message_malformed');
}

test('W13: our refusal of a CONNECT is no part of an answer under way on the way in', async () => {
  const stage = await openWayIn({
    answer: (_call, response) => {
      response.writeHead(200, { 'content-length': '100' }).write('{"balance":"');
      setTimeout(() => response.end('9'.repeat(88)), 600);
    },
  });
  try {
    const caller = await stage.caller();
    const socket = dial(stage.to.address());
    let text = '';
    socket.on('data', (data: Buffer) => (text += data.toString('latin1')));
    socket.write(caller.bytes({ path: '/long' }));
    await sleep(250);
    socket.write('CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n');
    await once(socket, 'close');
    const body = text.slice(text.indexOf('\r\n\r\n') + 4);
    expect(body.slice(0, 100)).toBe(`{"balance":"${'9'.repeat(88)}`);
    expect(body.slice(100, 112)).toBe('HTTP/1.1 400');
  } finally {
    await stage.close();
  }
});
