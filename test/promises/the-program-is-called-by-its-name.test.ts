import { expect, test } from 'vitest';
import { openWayIn } from '../stage/way-in-stage.ts';

const forged = [
  ['X-Forwarded-Host', 'evil.test'],
  ['X-Forwarded-Proto', 'gopher'],
  ['X-Forwarded-Port', '1'],
] as const;

test.each(['origin', 'program'])('the Host that the program sees is that of the %s', async (host) => {
  const stage = await openWayIn({ inbound: { host } });
  try {
    const caller = await stage.caller();
    expect((await caller.send({ path: '/x', headers: forged })).status).toBe(200);
    const { headers } = stage.program.seen.at(-1)!;
    const own = `127.0.0.1:${stage.program.port}`;
    const forwarded = ['host', 'proto', 'port'].map((what) => headers[`x-forwarded-${what}`]);
    const shown = host === 'origin' ? 'agent.localhost' : own;
    expect([headers.host, ...forwarded]).toEqual([shown, 'agent.localhost', 'http', '80']);
    // The proof and the Host of the request are about the origin all the same.
    const framing = [['Host', own]] as const;
    expect((await caller.send({ path: '/x', framing })).status).toBe(421);
  } finally {
    await stage.close();
  }
});

test('behind an https origin the program knows that its callers use https: its absolute redirects keep to it', async () => {
  const stage = await openWayIn({
    origin: 'https://agent.localhost:8443',
    // As Spring does it. FastAPI takes the host from `Host`; Spring then forgets its port.
    answer: ({ headers: { 'x-forwarded-proto': scheme, 'x-forwarded-host': authority } }, response) =>
      response.writeHead(307, { Location: `${String(scheme)}://${String(authority)}/items/` }).end(),
  });
  try {
    const caller = await stage.caller();
    const { status, headers } = await caller.send({ path: '/items', headers: forged });
    expect([status, headers['location']]).toEqual([307, 'https://agent.localhost:8443/items/']);
  } finally {
    await stage.close();
  }
});
