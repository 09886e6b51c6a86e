import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { openTunnel } from '../stage/raw-call.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let tool: EchoTool;
let stage: Stage;
let handle: string;

beforeAll(async () => {
  const certificate = await makeToolCertificate('crm.test');
  tool = await openEchoTool({ tls: certificate });
  stage = await openStage({ tools: { crm: { port: tool.port, ca: certificate.ca } } });
  ({ handle } = await stage.task());
});
afterAll(async () => {
  await stage?.close();
  await tool?.close();
});

const tunnel = () => openTunnel(stage.sidecar.addresses.outbound, 'crm.test:443', { handle });
const refusals = () => stage.sidecar.events().filter(({ event }) => event === 'call.refused');

/** Refusals of the way out by their code, in all label sets together. */
async function counted(): Promise<number> {
  const lines = (await stage.sidecar.metrics()).split('\n');
  const ours = lines.filter(
    (line) => line.startsWith('waybill_refusals_total{') && /way="out"/.test(line) && /"message_malformed"/.test(line),
  );
  return ours.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

/** Tries to speak TLS in a tunnel; resolves when the connection has ended. */
async function handshake(options: ConnectionOptions): Promise<void> {
  const inner = connectTls({ socket: await tunnel(), servername: 'crm.test', rejectUnauthorized: false, ...options });
  inner.on('error', () => undefined);
  await new Promise((resolve) => inner.once('close', resolve));
}

test('a handshake that fails, which its agent sees as a failure of the tool, is counted and recorded', async () => {
  const before = await counted();
  await handshake({ minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' });
  await eventually('it is recorded', () => refusals().length === 1);
  expect(refusals()[0]).toMatchObject({
    way: 'out',
    code: 'message_malformed',
    status: 0,
    cause: 'unsupported_protocol',
    peer: '127.0.0.1',
    target: { host: 'crm.test', port: 443 },
  });
  for (let count = 0; count < 40; count += 1) {
    const socket = await tunnel();
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.write(Buffer.from([0x16, 3, 1, 0, 5, 9, 9, 9, 9, 9]));
    await closed;
  }
  await eventually('all are counted', async () => (await counted()) - before === 41);
  expect(refusals().length).toBeLessThanOrEqual(12);
});

test('an agent that goes away in the middle of it is no refusal', async () => {
  const [before, told] = [await counted(), refusals().length];
  for (const first of [undefined, Buffer.from([0x16, 3, 1, 2, 0])]) {
    const socket = await tunnel();
    if (first !== undefined) await new Promise((resolve) => socket.write(first, resolve));
    await sleep(50);
    socket.destroy();
  }
  await sleep(100);
  expect([await counted(), refusals().length]).toEqual([before, told]);
});
