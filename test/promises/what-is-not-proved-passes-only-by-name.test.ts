import { networkInterfaces } from 'node:os';
import { describe, expect, test } from 'vitest';
import { readRecord } from '../stage/event-record.ts';
import { callThrough, dial, exchangeOn } from '../stage/raw-call.ts';
import { expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import { openDomain, openWayIn, type WayInOptions } from '../stage/way-in-stage.ts';

/** What a sidecar says that does not start; empty where it does. */
async function faultOf(options: WayInOptions): Promise<string> {
  try {
    await (await openWayIn(options)).close();
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}

describe('W9: bearer', () => {
  test('is no way in, unless the configuration calls it unsafe', async () => {
    expect(await faultOf({ inbound: (issuer) => ({ accept: [{ issuer }] }) })).toMatch(
      /ended with 64[^]*unsafe_bearer: true/,
    );
    const stage = await openWayIn();
    try {
      const caller = await stage.caller();
      const plain = await stage.to.mint({});
      const as = (what: string, token: string, scheme: string, proof?: null) => ({
        what,
        code: 'token_invalid',
        send: () => caller.send({ token, scheme, ...(proof === null ? { proof } : {}) }),
      });
      await expectEachRefused(stage, [
        as('a token that is bound to nothing', plain, 'Bearer', null),
        as('the same, with a proof', plain, 'Bearer'),
        as('the same, as DPoP', plain, 'DPoP'),
        as('a bound token without its proof', caller.token, 'Bearer', null),
        as('a bound token with its proof, as Bearer', caller.token, 'Bearer'),
      ]);
      expect(await stage.sidecar.metrics()).not.toMatch(/^waybill_unsafe_settings\{/m);
    } finally {
      await stage.close();
    }
  });

  test('where it is, tokens that are bound to nothing pass, are recorded as that, and bound ones still need their proof', async () => {
    const stage = await openWayIn({ inbound: (issuer) => ({ accept: [{ issuer, unsafe_bearer: true }] }) });
    try {
      const caller = await stage.caller();
      const plain = await stage.to.mint({});
      const bearer = { scheme: 'Bearer', proof: null };
      await expectPasses(stage, 'bearer', () => caller.send({ ...bearer, token: plain }));
      const admitted = readRecord(stage.sidecar.eventsFile).findLast(({ event }) => event === 'call.admitted');
      expect(admitted).toMatchObject({ binding: 'audience', subject: { sub: 'alice' } });
      const bindings = { 'x5t#S256': 'A'.repeat(43), jwk: { kty: 'EC' }, kid: 'one', jkt: 7, jku: ['x'] };
      const bound = await Promise.all(
        Object.entries(bindings).map(async ([by, value]) => ({
          by,
          token: await stage.to.mint({ cnf: { [by]: value } }),
        })),
      );
      const elsewhere = await stage.to.mint({ aud: 'http://other.localhost' });
      await expectEachRefused(stage, [
        { what: 'bound to a key', code: 'token_invalid', send: () => caller.send(bearer) },
        ...bound.map(({ by, token }) => ({
          what: `bound by ${by}`,
          code: 'token_invalid',
          send: () => caller.send({ ...bearer, token }),
        })),
        { what: 'as DPoP', code: 'token_invalid', send: () => caller.send({ token: plain }) },
        {
          what: 'for elsewhere',
          code: 'token_wrong_audience',
          send: () => caller.send({ ...bearer, token: elsewhere }),
        },
        {
          what: 'with a chain that nothing binds',
          code: 'chain_broken',
          send: () => caller.send({ ...bearer, token: plain, chain: 'eyJh.e30.AA' }),
        },
      ]);
      expect(await stage.sidecar.metric('waybill_unsafe_settings{setting="inbound.accept[0].unsafe_bearer"}')).toBe(1);
      expect(stage.sidecar.events().filter(({ event }) => event === 'unsafe')).toHaveLength(1);
      expect(stage.sidecar.output()).toContain('unsafe setting');
    } finally {
      await stage.close();
    }
  });
});

describe('W9: plain HTTP', () => {
  const listen = (inbound: string) => ({
    outbound: '127.0.0.1:0',
    inbound,
    metrics: '127.0.0.1:0',
    health: '127.0.0.1:0',
  });
  const address = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .find(({ family, internal }) => family === 'IPv4' && !internal)?.address;

  test('is for loopback: a listener for others starts without TLS only where that is called unsafe', async () => {
    const sections = { listen: listen('0.0.0.0:0') };
    expect(await faultOf({ sections })).toMatch(/ended with 64[^]*unsafe_plaintext/);
    const stage = await openWayIn({ sections, inbound: { unsafe_plaintext: true } });
    try {
      expect(await stage.sidecar.metric('waybill_unsafe_settings{setting="inbound.unsafe_plaintext"}')).toBe(1);
      expect(stage.sidecar.output()).toContain('unsafe setting');
    } finally {
      await stage.close();
    }
  });

  test('is cut where the way in has TLS, from this machine and from elsewhere', async (context) => {
    const authority = await openDomain();
    const stage = await openWayIn({
      authority,
      origin: 'https://agent.example.org',
      sections: { listen: listen('0.0.0.0:0') },
    });
    try {
      const caller = await stage.caller().catch(() => undefined);
      expect(caller).toBeUndefined();
      const port = stage.to.address().split(':')[1];
      for (const host of ['127.0.0.1', ...(address === undefined ? [] : [address])]) {
        const request = Buffer.from('GET / HTTP/1.1\r\nHost: agent.example.org\r\n\r\n');
        await expect(exchangeOn(dial(`${host}:${port}`), request, 3000), host).rejects.toThrow('closed');
      }
      expect(stage.program.seen).toEqual([]);
      if (address === undefined) context.skip('no address but loopback');
    } finally {
      await stage.close();
    }
  });
});

test('W10: the way in is no way to the operator’s side, nor from the agent to itself', async () => {
  const stage = await openWayIn();
  try {
    const { outbound, inbound, metrics } = stage.sidecar.addresses;
    const codes: unknown[] = [];
    for (const at of [inbound, `localhost:${inbound?.split(':')[1]}`, metrics]) {
      const { status } = await callThrough(outbound, `http://${at}/v1/tasks`);
      codes.push(status);
    }
    expect(codes).toEqual([403, 403, 403]);
    const caller = await stage.caller();
    await expectPasses(stage, 'a path like that of the operator', () => caller.send({ path: '/v1/tasks' }));
    expect(stage.program.seen.at(-1)?.path).toBe('/v1/tasks');
  } finally {
    await stage.close();
  }
});
