import { X509Certificate } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { decodeJwt } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Authority, openAuthority } from '../../proxy/embedded/authority.ts';
import { mintAuthority, mintLeaf } from '../fakes/certificate-mint.ts';
import { chainAlong, openHops } from '../stage/chain-maker.ts';
import { readRecord } from '../stage/event-record.ts';
import { dial, exchangeOn, type RawAnswer } from '../stage/raw-call.ts';
import { type Attack, expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import { certificateFrom, certificateOf, connectTls, tlsCaller, type ClientCertificate } from '../stage/tls-caller.ts';
import { openDomain, openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const id = (name: string): string => `spiffe://example.org/${name}`;
let authority: Authority;
let foreign: Authority;
let stage: WayInStage;
let planner: ClientCertificate;
let worker: ClientCertificate;

beforeAll(async () => {
  authority = await openDomain();
  foreign = await openAuthority('evil.org');
  stage = await openWayIn({
    authority,
    origin: 'https://agent.example.org',
    inbound: (issuer) => ({
      accept: [
        { issuer, proof: 'mtls' },
        { trust_domain: 'example.org', proof: 'mtls' },
      ],
    }),
  });
  planner = await svidOf('planner');
  worker = await svidOf('worker');
});
afterAll(() => stage?.close());

async function svidOf(name: string, from = authority, ttlSeconds = 3600): Promise<ClientCertificate> {
  return certificateOf(await from.issueX509(`spiffe://${from.trustDomain}/${name}`, ttlSeconds));
}

/** A JWT-SVID for this agent. */
function jwtSvid(name: string, changes: { aud?: string; exp?: number; from?: Authority } = {}): string {
  const { from = authority, aud = stage.origin } = changes;
  const now = Math.floor(Date.now() / 1000);
  const domain = `spiffe://${from.trustDomain}`;
  return from.issueJwt({ sub: `${domain}/${name}`, aud: [aud], iss: domain, iat: now, exp: changes.exp ?? now + 60 });
}

const bound = (to: ClientCertificate, changes: Record<string, unknown> = {}): Promise<string> =>
  stage.to.mint({ cnf: { 'x5t#S256': to.x5t }, ...changes });

/** A request with this certificate, and this token as Bearer. */
async function send(client: ClientCertificate, token: string | null = null, scheme = 'Bearer'): Promise<RawAnswer> {
  return (await tlsCaller(stage, client)).send({ path: '/x', token, scheme, proof: null });
}

const attack = (code: string, what: string, run: () => Promise<RawAnswer>): Attack => ({ what, code, send: run });
const lastAdmitted = () => readRecord(stage.sidecar.eventsFile).findLast(({ event }) => event === 'call.admitted');

describe('TLS of the way in', () => {
  test('shows the SVID of the agent, signed by the authority of its trust domain', async () => {
    const socket = await connectTls(stage.to.address(), planner, { ALPNProtocols: ['h2', 'http/1.1'] });
    const certificate = socket.getPeerX509Certificate();
    const root = new X509Certificate(authority.bundle().x509Der);
    expect(certificate?.subjectAltName).toBe(`URI:${id('agent')}`);
    expect(certificate?.verify(root.publicKey)).toBe(true);
    expect([socket.alpnProtocol, socket.getProtocol()]).toEqual(['http/1.1', 'TLSv1.3']);
    socket.destroy();
  });

  test('a connection without client certificate, by plain HTTP or by an old TLS comes to nothing', async () => {
    const { inbound = '' } = stage.sidecar.addresses;
    const request = Buffer.from('GET / HTTP/1.1\r\nHost: agent.example.org\r\n\r\n');
    const attempts: Record<string, () => Promise<unknown>> = {
      'no certificate': async () => exchangeOn(await connectTls(inbound), request, 2000),
      plain: async () => exchangeOn(dial(inbound), request, 2000),
      'TLS 1.1': () =>
        connectTls(inbound, planner, { maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' }),
    };
    for (const [what, attempt] of Object.entries(attempts)) {
      await expect(attempt(), what).rejects.toThrow();
    }
    expect(stage.program.seen).toEqual([]);
  });

  test('a session is not taken up again: whoever comes shows its certificate', async () => {
    const first = await connectTls(stage.to.address(), planner);
    const sessions: Buffer[] = [];
    first.on('session', (session: Buffer) => sessions.push(session));
    const caller = await tlsCaller(stage, planner);
    await caller.send({ token: null, proof: null }, first);
    await sleep(50);
    const session = sessions[0] ?? first.getSession();
    first.destroy();
    const again = await connectTls(stage.to.address(), planner, session === undefined ? {} : { session }).catch(
      () => undefined,
    );
    expect(again?.isSessionReused() ?? false).toBe(false);
    again?.destroy();
  });
});

describe('mTLS', () => {
  test('a token that is bound to the certificate passes over its connection only', async () => {
    const token = await bound(planner);
    await expectPasses(stage, 'bound', () => send(planner, token));
    expect(lastAdmitted()).toMatchObject({ binding: 'key', caller: id('planner'), subject: { sub: 'alice' } });
    const next = await svidOf('planner');
    const unbound = await stage.to.mint({});
    const other = await stage.to.mint({ cnf: { jkt: 'A'.repeat(43) } });
    const elsewhere = await bound(planner, { aud: 'https://other.example.org' });
    const twice = (more: Record<string, unknown>) => bound(planner, { cnf: { 'x5t#S256': planner.x5t, ...more } });
    await expectEachRefused(stage, [
      attack('token_invalid', 'to a key too', async () => send(planner, await twice({ jkt: 'A'.repeat(43) }))),
      attack('token_invalid', 'to a whole key too', async () => send(planner, await twice({ jwk: { kty: 'EC' } }))),
      attack('token_foreign_presenter', 'another workload', () => send(worker, token)),
      attack('token_foreign_presenter', 'the next SVID of the workload', () => send(next, token)),
      attack('token_invalid', 'bound to nothing', () => send(planner, unbound)),
      attack('token_invalid', 'bound to a key', () => send(planner, other)),
      attack('token_invalid', 'as DPoP', () => send(planner, token, 'DPoP')),
      attack('token_wrong_audience', 'for another resource', () => send(planner, elsewhere)),
      attack('token_invalid', 'in hex', async () => {
        const x5t = Buffer.from(planner.x5t, 'base64url').toString('hex');
        return send(planner, await stage.to.mint({ cnf: { 'x5t#S256': [x5t] } }));
      }),
    ]);
  });

  test('a JWT-SVID passes beside the certificate of the same SPIFFE ID only', async () => {
    await expectPasses(stage, 'same', () => send(planner, jwtSvid('planner')));
    const given = String(stage.program.seen.at(-1)?.headers.authorization).replace('Bearer ', '');
    expect(decodeJwt(given)).toMatchObject({ sub: id('planner'), iss: 'http://waybill.local' });
    // Later than any date.
    const never = jwtSvid('planner', { exp: Number.MAX_SAFE_INTEGER });
    await expectPasses(stage, 'without an end', () => send(planner, never));
    const past = Math.floor(Date.now() / 1000) - 1;
    await expectEachRefused(stage, [
      attack('token_foreign_presenter', 'of another workload', () => send(planner, jwtSvid('worker'))),
      attack('token_foreign_presenter', 'of one below it', () => send(planner, jwtSvid('planner/a'))),
      attack('token_wrong_audience', 'for somebody else', () =>
        send(planner, jwtSvid('planner', { aud: 'https://other.example.org' })),
      ),
      attack('token_invalid', 'over', () => send(planner, jwtSvid('planner', { exp: past }))),
      attack('token_invalid', 'over, and for somebody else', () =>
        send(planner, jwtSvid('planner', { exp: past, aud: 'https://other.example.org' })),
      ),
      attack('token_invalid', 'for somebody else, and signed by nobody', () => {
        const [head, body, signature = ''] = jwtSvid('planner', { aud: 'https://other.example.org' }).split('.');
        return send(planner, `${head}.${body}.${'A'.repeat(signature.length)}`);
      }),
      attack('token_invalid', 'of another trust domain, and for somebody else', () =>
        send(planner, jwtSvid('planner', { from: foreign, aud: 'https://other.example.org' })),
      ),
      attack('token_invalid', 'of another trust domain', () => send(planner, jwtSvid('planner', { from: foreign }))),
      attack('token_invalid', 'as DPoP', () => send(planner, jwtSvid('planner'), 'DPoP')),
    ]);
  });

  test('a workload without a token is itself the subject', async () => {
    await expectPasses(stage, 'workload', () => send(worker));
    expect(lastAdmitted()).toMatchObject({
      binding: 'key',
      caller: id('worker'),
      subject: { iss: '', sub: id('worker') },
      chain: [],
    });
    const given = String(stage.program.seen.at(-1)?.headers.authorization).replace('Bearer ', '');
    expect(decodeJwt(given).sub).toBe(id('worker'));
  });

  test('a certificate that is no SVID of a trusted domain is refused, whatever comes with it', async () => {
    const poser = await mintAuthority(undefined, { subject: 'O=Waybill embedded, CN=example.org' });
    const rogue = await mintLeaf(poser, { uris: [id('planner')] });
    const own = await mintLeaf(undefined, { uris: [id('planner')] });
    const attacks: [string, ClientCertificate][] = [
      ['foreign domain', await svidOf('planner', foreign)],
      ['an authority that only says it is ours', certificateFrom(rogue)],
      ['with that authority beside it', certificateFrom(rogue, poser)],
      ['signed by itself', certificateFrom(own)],
      ['an authority itself', certificateFrom(poser)],
      ['two names', certificateFrom(await mintLeaf(poser, { uris: [id('planner'), id('worker')] }))],
      ['no name', certificateFrom(await mintLeaf(poser, { uris: [] }))],
    ];
    await expectEachRefused(stage, [
      ...attacks.map(([what, client]) => attack('caller_not_allowed', what, () => send(client))),
      attack('caller_not_allowed', 'foreign, with its own token', async () => {
        const client = await svidOf('planner', foreign);
        return send(client, await bound(client));
      }),
    ]);
  });

  test('an SVID that ends while its connection is open ends with it', async () => {
    const brief = await tlsCaller(stage, await svidOf('planner', authority, 3));
    const socket = await brief.connect();
    await expectPasses(stage, 'in time', () => brief.send({ token: null, proof: null }, socket));
    await sleep(3200);
    await expectEachRefused(stage, [
      attack('caller_not_allowed', 'over', () => brief.send({ token: null, proof: null }, socket)),
    ]);
    socket.destroy();
  });

  test('a chain over mTLS is that of the peer, or off its path', async () => {
    const hops = await openHops(authority, 'front', 'planner');
    const errand = {
      subject: { iss: stage.service.issuer, sub: 'alice' },
      resource: stage.origin,
      jkt: 'A'.repeat(43),
    };
    const chain = chainAlong(hops, errand);
    const [mine, his] = [await bound(planner), await bound(worker)];
    const withChain = async (client: ClientCertificate, token: string): Promise<RawAnswer> =>
      (await tlsCaller(stage, client)).send({ token, scheme: 'Bearer', proof: null, chain });
    await expectPasses(stage, 'of the peer', () => withChain(planner, mine));
    expect(lastAdmitted()).toMatchObject({ chain: [id('front'), id('planner')] });
    await expectEachRefused(stage, [attack('chain_off_path', 'of another peer', () => withChain(worker, his))]);
  });
});
