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

test.each(['origin', 'program'])(
  'called by the name of the %s it sends its callers on to where they came from',
  async (host) => {
    const stage = await openWayIn({
      inbound: { host },
      answer: ({ path, headers }, response) => {
        const own = String(headers.host);
        const places: Readonly<Record<string, string>> = {
          // As servers made with the MCP SDK for Python do it, for `/mcp/`.
          '/absolute': `http://${own}/mcp?a=http://${own}/`,
          '/https': `HTTPS://${own.toUpperCase()}`,
          '/no-scheme': `//${own}/mcp`,
          '/relative': '/mcp',
          '/longer-port': `http://${own}0/`,
          '/longer-host': `http://${own}.evil.test/`,
          '/user': `http://${own}@evil.test/`,
          '/elsewhere': `https://evil.test/?${own}`,
        };
        const place = places[path] ?? '';
        response.writeHead(307, { location: place, 'Content-Location': place, 'X-Place': place }).end();
      },
    });
    try {
      const caller = await stage.caller();
      const led = async (path: string) => {
        const { headers } = await caller.send({ path });
        expect(headers['content-location']).toBe(headers['location']);
        return headers;
      };
      const name = host === 'origin' ? 'agent.localhost' : `127.0.0.1:${stage.program.port}`;
      expect((await led('/absolute'))['location']).toBe(`http://agent.localhost/mcp?a=http://${name}/`);
      expect((await led('/absolute'))['x-place']).toBe(`http://${name}/mcp?a=http://${name}/`);
      expect((await led('/https'))['location']).toBe(
        host === 'origin' ? 'HTTPS://AGENT.LOCALHOST' : 'http://agent.localhost',
      );
      expect((await led('/no-scheme'))['location']).toMatch(/^(?:http:)?\/\/agent\.localhost\/mcp$/);
      for (const path of ['/relative', '/longer-port', '/longer-host', '/user', '/elsewhere']) {
        const headers = await led(path);
        expect([path, headers['location']]).toEqual([path, headers['x-place']]);
      }
    } finally {
      await stage.close();
    }
  },
);
