import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Authority, openAuthority } from '../../proxy/embedded/authority.ts';
import { eventually } from '../fakes/eventually.ts';
import { dial } from '../stage/raw-call.ts';
import { expectPasses, refusalCounts } from '../stage/refused-way-in.ts';
import { certificateOf, connectTls, tlsCaller, type ClientCertificate } from '../stage/tls-caller.ts';
import { openDomain, openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

let authority: Authority;
let stage: WayInStage;
let planner: ClientCertificate;

const svidOf = async (from: Authority, ttlSeconds = 3600): Promise<ClientCertificate> =>
  certificateOf(await from.issueX509(`spiffe://${from.trustDomain}/planner`, ttlSeconds));
const openMesh = () =>
  openWayIn({
    authority,
    origin: 'https://agent.example.org',
    inbound: { accept: [{ trust_domain: 'example.org', proof: 'mtls' }] },
  });

beforeAll(async () => {
  authority = await openDomain();
  planner = await svidOf(authority);
  stage = await openMesh();
});
afterAll(() => stage?.close());

const request = 'GET / HTTP/1.1\r\nHost: agent.example.org\r\n\r\n';

/** Sends a request and waits for the end: what was heard, and the code of the error that it ended with. */
async function ended(socket: Socket): Promise<{ text: string; error: string }> {
  let [text, error] = ['', ''];
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  socket.on('error', ({ code = '' }: NodeJS.ErrnoException) => (error = code));
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.write(request);
  await closed;
  return { text, error };
}

const plain = ({ to }: WayInStage = stage) => ended(dial(to.address()));
const old = () =>
  connectTls(stage.to.address(), planner, {
    maxVersion: 'TLSv1.1',
    minVersion: 'TLSv1',
    ciphers: 'DEFAULT@SECLEVEL=0',
  }).catch(() => undefined);

/** The refusals that come of something: their events, and how the counters grew. */
async function refusalsOf(act: () => Promise<unknown>, { sidecar }: WayInStage = stage) {
  const events = () => sidecar.events().filter(({ event }) => event === 'call.refused');
  const [told, before] = [events().length, await refusalCounts(sidecar)];
  await act();
  await sleep(100);
  const after = await refusalCounts(sidecar);
  const grown = [...after].map(([code, count]) => [code, count - (before.get(code) ?? 0)] as const);
  return { events: events().slice(told), counts: Object.fromEntries(grown.filter(([, count]) => count > 0)) };
}

test('who shows no certificate where one is required is told by TLS, counted and recorded', async () => {
  for (const version of ['TLSv1.3', 'TLSv1.2'] as const) {
    let error = '';
    const { events, counts } = await refusalsOf(async () => {
      const options = { minVersion: version, maxVersion: version };
      const socket = await connectTls(stage.to.address(), undefined, options).catch(
        ({ code = '' }: NodeJS.ErrnoException) => void (error = code),
      );
      if (socket !== undefined) ({ error } = await ended(socket));
    });
    expect([version, error]).toEqual([version, expect.stringMatching(/^ERR_SSL_.*ALERT_/)]);
    if (version === 'TLSv1.3') expect(error).toMatch(/CERTIFICATE_REQUIRED$/);
    expect(counts).toEqual({ 'refused caller_not_allowed': 1 });
    const { id, ...told } = events[0] ?? {};
    expect([typeof id, events.length, told]).toEqual([
      'string',
      1,
      expect.objectContaining({
        way: 'in',
        stage: 'verify',
        code: 'caller_not_allowed',
        status: 0,
        cause: 'peer_did_not_return_a_certificate',
        peer: '127.0.0.1',
        agent: 'agent',
      }),
    ]);
  }
});

test('so are plain HTTP at the port of TLS, and a TLS that is too old', async () => {
  const http = await refusalsOf(async () => expect((await plain()).text).toBe(''));
  expect(http.counts).toEqual({ 'refused message_malformed': 1 });
  expect(http.events).toMatchObject([{ code: 'message_malformed', status: 0, cause: 'no_tls', peer: '127.0.0.1' }]);
  const tls = await refusalsOf(old);
  expect(tls.counts).toEqual({ 'refused message_malformed': 1 });
  expect(tls.events).toMatchObject([{ code: 'message_malformed', status: 0, cause: 'unsupported_protocol' }]);
});

test('who shows one of another trust domain, or one that is over, is answered', async () => {
  const foreign = await svidOf(await openAuthority('evil.org'));
  const over = await svidOf(authority, -5);
  for (const client of [foreign, over]) {
    const { events, counts } = await refusalsOf(async () => {
      const caller = await tlsCaller(stage, client);
      expect(await caller.send({ token: null, proof: null })).toMatchObject({
        status: 403,
        code: 'caller_not_allowed',
      });
    });
    expect(counts).toEqual({ 'refused caller_not_allowed': 1 });
    expect(events).toMatchObject([{ code: 'caller_not_allowed', status: 403 }]);
  }
});

test('a caller that goes away, also in the middle of its handshake, is no refusal', async () => {
  const { events, counts } = await refusalsOf(async () => {
    for (const first of [undefined, Buffer.from([0x16, 3, 1, 2, 0])]) {
      const socket = dial(stage.to.address());
      await new Promise((resolve) => socket.once('connect', resolve));
      if (first !== undefined) await new Promise((resolve) => socket.write(first, resolve));
      await sleep(50);
      socket.destroy();
    }
  });
  expect([events, counts]).toEqual([[], {}]);
});

test('of many that are turned away all are counted, and few are told one by one', async () => {
  const own = await openMesh();
  try {
    const { events, counts } = await refusalsOf(async () => {
      for (let count = 0; count < 150; count += 1) await plain(own);
    }, own);
    expect(counts).toEqual({ 'refused message_malformed': 150 });
    expect(events.length).toBeGreaterThanOrEqual(10);
    expect(events.length).toBeLessThanOrEqual(20);
    // Another reason is told all the same.
    const { events: others } = await refusalsOf(async () => ended(await connectTls(own.to.address())), own);
    expect(others).toMatchObject([{ code: 'caller_not_allowed' }]);
    expect(others[0]).not.toHaveProperty('suppressed');
    await expectPasses(own, 'an honest caller', async () =>
      (await tlsCaller(own, planner)).send({ token: null, proof: null }),
    );
    await sleep(10_500);
    const { events: later } = await refusalsOf(() => plain(own), own);
    const told = [...events, ...later];
    const suppressed = told.map(({ suppressed: count }) => (typeof count === 'number' ? count : 0));
    expect(told.length + suppressed.reduce((sum, count) => sum + count, 0)).toBe(151);
  } finally {
    await own.close();
  }
}, 40_000);

test('without an SVID of ours every caller is turned away, and the count says why', async () => {
  const own = await openMesh();
  try {
    await own.workload?.removeEntries();
    await eventually('it is lost', () => own.sidecar.events().some(({ event }) => event === 'svid.lost'));
    const { events, counts } = await refusalsOf(async () => {
      await expect(connectTls(own.to.address(), planner)).rejects.toThrow();
    }, own);
    expect(counts).toEqual({ 'refused identity_unavailable': 1 });
    expect(events).toMatchObject([{ code: 'identity_unavailable', status: 0, cause: 'no_svid' }]);
  } finally {
    await own.close();
  }
});

test('TLS at a way in that serves plain HTTP is a mistake of the caller, and no lack of an identity', async () => {
  const own = await openWayIn();
  try {
    const { events, counts } = await refusalsOf(async () => {
      await expect(connectTls(own.to.address())).rejects.toThrow();
    }, own);
    expect(counts).toEqual({ 'refused message_malformed': 1 });
    expect(events).toMatchObject([{ code: 'message_malformed', status: 0, cause: 'no_svid' }]);
  } finally {
    await own.close();
  }
});
