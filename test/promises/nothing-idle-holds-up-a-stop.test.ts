import { readFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openCaller } from '../stage/caller.ts';
import { answerEcho, openEchoTool, type EchoTool, type SeenCall } from '../stage/echo-tool.ts';
import { dial, exchangeOn, openTunnel } from '../stage/raw-call.ts';
import { connectTls } from '../stage/tls-caller.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';
import { openDomain, openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

/** Less than what a stop waits for answers that are owed. */
const promptMs = 1500;
let certificate: Awaited<ReturnType<typeof makeToolCertificate>>;
let plain: EchoTool;
let tls: EchoTool;
let slow = 0;

function answer(call: SeenCall, response: ServerResponse): void {
  if (call.path === '/slow') slow += 1;
  setTimeout(() => answerEcho(call, response), call.path === '/slow' ? 700 : 0);
}

beforeAll(async () => {
  certificate = await makeToolCertificate('secure.test');
  [plain, tls] = [await openEchoTool({ answer }), await openEchoTool({ answer, tls: certificate })];
});
afterAll(async () => {
  await plain?.close();
  await tls?.close();
});

const get = (host: string): Buffer => Buffer.from(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
const secure = ({ sidecar }: WayInStage): Promise<Socket> =>
  openTunnel(sidecar.addresses.outbound, 'secure.test:443', {
    tls: { ca: readFileSync(sidecar.caFile, 'utf8'), serverName: 'secure.test' },
  });
const open = ({ sidecar }: WayInStage): Promise<Socket> => openTunnel(sidecar.addresses.outbound, 'plain.test:80');

const idlers: Record<string, (stage: WayInStage) => Promise<Socket>> = {
  'a connection without a byte, way out': async ({ sidecar }) => dial(sidecar.addresses.outbound),
  'a connection without a byte, way in': async ({ to }) => dial(to.address()),
  'a connection with TLS, way in': ({ to }) => connectTls(to.address()),
  'a tunnel that nothing came in': open,
  'a tunnel with TLS that no request came in': secure,
  'a tunnel with an answered request': async (stage) => {
    const socket = await open(stage);
    await exchangeOn(socket, get('plain.test'));
    return socket;
  },
  'a tunnel with TLS and an answered request': async (stage) => {
    const socket = await secure(stage);
    await exchangeOn(socket, get('secure.test'));
    return socket;
  },
};

async function openStage(): Promise<WayInStage> {
  return openWayIn({
    authority: await openDomain(),
    origin: 'https://agent.localhost',
    inbound: { tls: 'svid', forward_to: `http://127.0.0.1:${plain.port}` },
    tools: {
      plain: { port: plain.port, token: false },
      secure: { port: tls.port, ca: certificate.ca, token: false },
    },
  });
}

test.each(Object.entries(idlers))('%s', async (_what, openIdle) => {
  const stage = await openStage();
  try {
    const socket = await openIdle(stage);
    await sleep(100);
    const startedAt = performance.now();
    await stage.sidecar.stop();
    expect(performance.now() - startedAt).toBeLessThan(promptMs);
    socket.destroy();
  } finally {
    await stage.close();
  }
});

test('while an answer that is owed under TLS is waited for', async () => {
  const stage = await openStage();
  try {
    const caller = await openCaller({ ...stage.to, connect: () => connectTls(stage.to.address()) });
    await caller.send({ proof: null });
    const [into, out] = [await caller.connect(), await secure(stage)];
    const answers = [
      exchangeOn(into, caller.bytes({ path: '/slow' })),
      exchangeOn(out, Buffer.from('GET /slow HTTP/1.1\r\nHost: secure.test\r\n\r\n')),
    ];
    await eventually('both are under way', () => slow === 2);
    await stage.sidecar.stop();
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([200, 200]);
  } finally {
    await stage.close();
  }
});
