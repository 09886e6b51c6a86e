import { networkInterfaces } from 'node:os';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Caller, openCaller } from '../stage/caller.ts';
import { openEchoTool } from '../stage/echo-tool.ts';
import { exchangeOn, openTunnel, requestBytes } from '../stage/raw-call.ts';
import { type Attack, expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import { connectTls } from '../stage/tls-caller.ts';
import { openDomain, openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

/** The same caller, over connections to this address. */
function connectedTo(caller: Caller, address: string): Caller {
  const moved = new Caller({ ...caller.to, address: () => address }, caller.key, caller.token);
  moved.nonce = caller.nonce;
  return moved;
}

describe('W2: the TLS server name', () => {
  let stage: WayInStage;
  let caller: Caller;

  beforeAll(async () => {
    const authority = await openDomain();
    stage = await openWayIn({ authority, origin: 'https://agent.example.org' });
    const to = { ...stage.to, connect: () => connectTls(stage.to.address()) };
    caller = await openCaller(to);
    await caller.send({ proof: null });
  });
  afterAll(() => stage?.close());

  /** A request over a connection whose handshake named this server; undefined: none. */
  async function sendTo(servername: string | undefined, token = caller.token) {
    const socket = await connectTls(stage.to.address(), undefined, servername === undefined ? {} : { servername });
    try {
      return await caller.send({ token }, socket);
    } finally {
      socket.destroy();
    }
  }

  test('of another host is misdirected, whatever Host says, and before the token is looked at', async () => {
    const fetched = stage.service.counts.jwks;
    const names = [
      'evil.example.org',
      'example.org',
      'a.agent.example.org',
      'agent.example.org.evil.org',
      'agent',
      'localhost',
    ];
    const attacks = names.map((name): Attack => ({
      what: name,
      code: 'authority_mismatch',
      send: () => sendTo(name, 'not.even.one'),
    }));
    await expectEachRefused(stage, attacks);
    expect(stage.service.counts.jwks).toBe(fetched);
  });

  test('of our own host passes in any letter case and with a trailing dot, and so does none', async () => {
    for (const name of ['agent.example.org', 'AGENT.example.ORG', 'agent.example.org.', undefined])
      await expectPasses(stage, name ?? 'none', () => sendTo(name));
  });

  test('counts for each request of the connection', async () => {
    const socket = await connectTls(stage.to.address(), undefined, { servername: 'evil.example.org' });
    const attack = { what: 'again', code: 'authority_mismatch', send: () => caller.send({}, socket) };
    await expectEachRefused(stage, [attack, attack]);
    socket.destroy();
  });
});

describe('other names', () => {
  let stage: WayInStage;
  afterEach(() => stage?.close());

  /** An honest request whose request line holds the whole URL. */
  const absolute = (caller: Caller, url = `${stage.origin}/x`) => {
    const bytes = caller.bytes({ path: '/x' }).toString('latin1').replace(' /x ', ` ${url} `);
    return caller.sendBytes(Buffer.from(bytes, 'latin1'));
  };

  /** How thousands of requests end, each with another absolute URI: more than any memory of names holds. */
  async function callManyNames(caller: Caller): Promise<Map<string, number>> {
    const ends = new Map<string, number>();
    let next = 0;
    const work = async (): Promise<void> => {
      const socket = await caller.connect();
      for (let at = next++; at < 4200; at = next++) {
        const request = `GET http://h${at}.example/x HTTP/1.1\r\nHost: agent.localhost\r\n\r\n`;
        const { status, code } = await exchangeOn(socket, Buffer.from(request));
        ends.set(`${status} ${code}`, (ends.get(`${status} ${code}`) ?? 0) + 1);
      }
      socket.destroy();
    };
    await Promise.all(Array.from({ length: 8 }, work));
    return ends;
  }

  test('W2: an honest absolute URI passes after thousands of others were refused, on either way', async () => {
    const tool = await openEchoTool();
    try {
      stage = await openWayIn({ tools: { plain: { port: tool.port, token: false } } });
      const caller = await stage.caller();
      const tunnel = await openTunnel(stage.sidecar.addresses.outbound, 'plain.test:80');
      const inTunnel = () => exchangeOn(tunnel, requestBytes('GET', 'http://plain.test/x', { Host: 'plain.test' }));
      await expectPasses(stage, 'before', () => absolute(caller));
      expect((await inTunnel()).status).toBe(200);
      const seen = stage.program.seen.length;
      expect(await callManyNames(caller)).toEqual(new Map([['421 authority_mismatch', 4200]]));
      expect(stage.program.seen.length).toBe(seen);
      for (const what of ['after', 'and again']) {
        await expectPasses(stage, what, () => absolute(caller));
        expect((await inTunnel()).status).toBe(200);
      }
      tunnel.destroy();
    } finally {
      await tool.close();
    }
  });

  test('W2: behind a listener for both families, Host may be the address of the connection in its usual form', async (context) => {
    const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
    if (!addresses.some(({ address }) => address === '::1')) context.skip('no IPv6 on this machine');
    stage = await openWayIn({
      inbound: { unsafe_plaintext: true },
      sections: {
        listen: { outbound: '127.0.0.1:0', inbound: '[::]:0', metrics: '127.0.0.1:0', health: '127.0.0.1:0' },
      },
    });
    const port = Number(stage.to.address().split(':').at(-1));
    const [four, six] = [`127.0.0.1:${port}`, `[::1]:${port}`];
    const mapped = `[::ffff:127.0.0.1]:${port}`;
    const caller = connectedTo(await stage.caller(), four);
    const bySix = connectedTo(caller, six);
    const named = (by: Caller, name: string) => () => by.send({ framing: [['Host', name]] });
    await expectPasses(stage, four, named(caller, four));
    await expectPasses(stage, six, named(bySix, six));
    const misdirected = (what: string, send: Attack['send']): Attack => ({ what, code: 'authority_mismatch', send });
    await expectEachRefused(stage, [
      misdirected('the other family', named(caller, six)),
      misdirected('the other family, the other way', named(bySix, four)),
      misdirected('another port', named(caller, `127.0.0.1:${port + 1}`)),
      misdirected('no port', named(caller, '127.0.0.1')),
      misdirected('another address of this machine', named(caller, `127.0.0.2:${port}`)),
      misdirected('any address', named(caller, `0.0.0.0:${port}`)),
      misdirected('the same in another family', named(bySix, mapped)),
    ]);
  });
});
