import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openCaller } from '../stage/caller.ts';
import { answerEcho, openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { callThrough, dial, exchangeOn } from '../stage/raw-call.ts';
import { openWayIn } from '../stage/way-in-stage.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let tool: EchoTool;
let stage: Stage;

afterEach(async () => {
  await stage?.close();
  await tool?.close();
});

test('from SIGTERM on it says that it is stopping, while the calls under way still end', async () => {
  const held: (() => void)[] = [];
  tool = await openEchoTool({
    answer: (call, response) => void held.push(() => answerEcho(call, response)),
  });
  stage = await openStage({ tools: { open: { port: tool.port, token: false } } });
  const { health, outbound } = stage.sidecar.addresses;
  const ask = async (path: string) => {
    const answer = await fetch(`http://${health}${path}`);
    return { status: answer.status, body: await answer.json() };
  };
  const under = callThrough(outbound, 'http://open.test/');
  await eventually('the call is at the tool', () => held.length === 1);
  expect((await ask('/readyz')).status).toBe(200);

  const stopped = stage.sidecar.stop();
  await eventually('it stops', () => stage.sidecar.output().includes('"msg":"stopping"'));
  expect(await ask('/readyz')).toEqual({
    status: 503,
    body: { status: 'not ready', missing: ['the sidecar is stopping'] },
  });
  expect((await ask('/livez')).status).toBe(200);
  held[0]?.();
  expect((await under).status).toBe(200);
  expect(await stopped).toBe(0);
});

test('a request whose head is coming when it stops is still answered, on both ways', async () => {
  const way = await openWayIn();
  try {
    const caller = await way.caller();
    await caller.send({ proof: null });
    const whole = caller.bytes({ path: '/x' }).toString('latin1');
    const [outbound, inbound] = [dial(way.sidecar.addresses.outbound), dial(way.to.address())];
    const answers = [outbound, inbound].map((socket) => once(socket, 'data'));
    outbound.write('GET http://unlisted.test/ HTTP/1.1\r\nHost: unl');
    inbound.write(whole.slice(0, 40));
    await sleep(100);
    const stopped = way.sidecar.stop();
    await eventually('it stops', () => way.sidecar.output().includes('"msg":"stopping"'));
    await sleep(50);
    outbound.write('isted.test\r\n\r\n');
    inbound.write(whole.slice(40));
    const [out, into] = (await Promise.all(answers)).map((data) => String(data).slice(0, 12));
    expect([out, into]).toEqual(['HTTP/1.1 403', 'HTTP/1.1 200']);
    expect(await stopped).toBe(0);
  } finally {
    await way.close();
  }
});

test('who has not heard of the stop yet is answered once more on its connection, on both ways, and told that it ends', async () => {
  const way = await openWayIn();
  try {
    const caller = await way.caller();
    const outward = Buffer.from('GET http://unlisted.test/ HTTP/1.1\r\nHost: unlisted.test\r\n\r\n');
    const [outbound, inbound] = [dial(way.sidecar.addresses.outbound), await caller.connect()];
    const before = [await exchangeOn(outbound, outward), await exchangeOn(inbound, caller.bytes({ path: '/a' }))];
    expect(before.map(({ status }) => status)).toEqual([403, 200]);
    const startedAt = performance.now();
    const stopped = way.sidecar.stop();
    await eventually('it stops', () => way.sidecar.output().includes('"msg":"stopping"'));
    const closed = once(outbound, 'close');
    const into = await exchangeOn(inbound, caller.bytes({ path: '/b' }));
    if (!inbound.closed) await once(inbound, 'close');
    // The way out goes on until the way in has ended: an agent may need it for its answer.
    await sleep(50);
    const out = await exchangeOn(outbound, outward);
    expect([into, out].map(({ status, headers }) => [status, headers['connection']])).toEqual([
      [200, 'close'],
      [403, 'close'],
    ]);
    await closed;
    expect(await stopped).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(1900);
    expect(way.program.seen.map(({ path }) => path)).toEqual(['/a', '/b']);
  } finally {
    await way.close();
  }
});

test('who is asked for a nonce while it stops may still answer on that connection: at another replica the nonce would be worth nothing', async () => {
  const way = await openWayIn();
  try {
    const caller = await openCaller(way.to);
    const inbound = await caller.connect();
    await sleep(100);
    const stopped = way.sidecar.stop();
    await eventually('it stops', () => way.sidecar.output().includes('"msg":"stopping"'));
    const asked = await exchangeOn(inbound, caller.bytes({ path: '/b' }));
    expect([asked.code, asked.headers['connection']]).toEqual(['nonce_required', 'keep-alive']);
    const answered = caller.bytes({ path: '/b', nonce: asked.headers['dpop-nonce'] });
    const { status, headers } = await exchangeOn(inbound, answered);
    expect([status, headers['connection']]).toEqual([200, 'close']);
    expect(await stopped).toBe(0);
  } finally {
    await way.close();
  }
});

test('who the system let in before it stops is answered, on both ways, although it had not seen them yet', async () => {
  const way = await openWayIn();
  try {
    const caller = await way.caller();
    const { pid, addresses } = way.sidecar;
    const outward = Buffer.from('GET http://unlisted.test/ HTTP/1.1\r\nHost: unlisted.test\r\n\r\n');
    // As a container is that has had its share of the processor for now.
    process.kill(pid, 'SIGSTOP');
    const inbound = await Promise.all(Array.from({ length: 20 }, () => caller.connect()));
    const outbound = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const socket = dial(addresses.outbound);
        await once(socket, 'connect');
        return socket;
      }),
    );
    const answers = [
      ...inbound.map((socket, at) => exchangeOn(socket, caller.bytes({ path: `/${at}` }))),
      ...outbound.map((socket) => exchangeOn(socket, outward)),
    ];
    const settled = Promise.allSettled(answers);
    await sleep(50);
    const stopped = way.sidecar.stop();
    process.kill(pid, 'SIGCONT');
    const got = (await settled).map((answer) => (answer.status === 'fulfilled' ? answer.value.status : 'lost'));
    expect(got).toEqual([...inbound.map(() => 200), ...outbound.map(() => 403)]);
    expect(await stopped).toBe(0);
  } finally {
    await way.close();
  }
});
