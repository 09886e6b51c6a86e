import { expect, test } from 'vitest';
import { openWayIn } from '../stage/way-in-stage.ts';

const forged = [
  ['X-Forwarded-Host', 'evil.test'],
  ['X-Forwarded-Proto', 'gopher'],
] as const;

test.each(['origin', 'program'])('the Host that the program sees is that of the %s', async (host) => {
  const stage = await openWayIn({ inbound: { host } });
  try {
    const caller = await stage.caller();
    expect((await caller.send({ path: '/x', headers: forged })).status).toBe(200);
    const { headers } = stage.program.seen.at(-1)!;
    const own = `127.0.0.1:${stage.program.port}`;
    const forwarded = [headers['x-forwarded-host'], headers['x-forwarded-proto']];
    if (host === 'origin') expect([headers.host, ...forwarded]).toEqual(['agent.localhost', undefined, 'http']);
    else expect([headers.host, ...forwarded]).toEqual([own, 'agent.localhost', 'http']);
    // The proof and the Host of the request are about the origin all the same.
    const framing = [['Host', own]] as const;
    expect((await caller.send({ path: '/x', framing })).status).toBe(421);
  } finally {
    await stage.close();
  }
});

test('behind an https origin the program knows that its callers use https: its absolute redirects keep to it', async () => {
  const stage = await openWayIn({
    origin: 'https://agent.localhost',
    // As FastAPI does it, whose server believes this header from loopback.
    answer: ({ headers }, response) =>
      response.writeHead(307, { Location: `${String(headers['x-forwarded-proto'])}://${headers.host}/items/` }).end(),
  });
  try {
    const caller = await stage.caller();
    const { status, headers } = await caller.send({ path: '/items', headers: forged });
    expect([status, headers['location']]).toEqual([307, 'https://agent.localhost/items/']);
  } finally {
    await stage.close();
  }
});
