import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { dial, openTunnel } from '../stage/raw-call.ts';
import { openDomain, openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

let stage: WayInStage;

beforeAll(async () => {
  stage = await openWayIn({ authority: await openDomain(), tools: { open: { port: 1, token: false } } });
});
afterAll(() => stage?.close());

const doors: Record<string, () => Promise<Socket> | Socket> = {
  'in a tunnel': () => openTunnel(stage.sidecar.addresses.outbound, 'open.test:443'),
  'at the way out': () => dial(stage.sidecar.addresses.outbound),
  'at the way in': () => dial(stage.sidecar.addresses.inbound ?? ''),
};
/** Half a record of TLS: its handshake has begun. */
const begun = Buffer.from([0x16, 3, 1, 2, 0, 1]);
const rows = Object.keys(doors).flatMap((door) => [
  [door, 'saying nothing', undefined, 0] as const,
  [door, 'with the beginning of a handshake', begun, 0] as const,
  [door, 'in its handshake', begun, 200] as const,
]);

test.concurrent.each(rows)('%s, %s', async (door, _what, bytes, waitMs) => {
  const socket = await doors[door]!();
  const closed = new Promise<boolean>((resolve) => {
    socket.once('close', () => resolve(true));
    setTimeout(() => resolve(false), 3000).unref();
  });
  if (bytes !== undefined) socket.write(bytes);
  await sleep(waitMs);
  expect(socket.destroyed).toBe(false);
  // In order, and its own end stays open until the sidecar closes the other.
  socket.resume().end();
  expect(await closed).toBe(true);
  socket.destroy();
});
