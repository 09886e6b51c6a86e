import { beforeAll, expect, test } from 'vitest';
import type { Authority } from '../../proxy/embedded/authority.ts';
import type { Caller } from '../stage/caller.ts';
import type { RawAnswer } from '../stage/raw-call.ts';
import { type Attack, expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import { makeProof } from '../stage/signing-key.ts';
import { certificateOf, tlsCaller, type ClientCertificate } from '../stage/tls-caller.ts';
import { openDomain, openWayIn } from '../stage/way-in-stage.ts';

let authority: Authority;
let planner: ClientCertificate;

beforeAll(async () => {
  authority = await openDomain();
  planner = await svidOf('planner');
});

async function svidOf(name: string): Promise<ClientCertificate> {
  return certificateOf(await authority.issueX509(`spiffe://example.org/${name}`, 3600));
}

const attack = (code: string, what: string, run: () => Promise<RawAnswer>): Attack => ({ what, code, send: run });

test('mTLS: callers are compared by whole segments', async () => {
  const strict = await openWayIn({
    authority,
    origin: 'https://agent.example.org',
    inbound: {
      accept: [{ trust_domain: 'example.org', proof: 'mtls' }],
      callers: ['spiffe://example.org/planner/**', 'spiffe://example.org/team/worker'],
    },
  });
  try {
    const as = async (name: string): Promise<RawAnswer> =>
      (await tlsCaller(strict, await svidOf(name))).send({ token: null, proof: null });
    for (const name of ['planner', 'planner/a', 'planner/a/b', 'team/worker'])
      await expectPasses(strict, name, () => as(name));
    const others = [
      'planner2',
      'plan',
      'planner-a',
      'Planner',
      'team',
      'team/worker/a',
      'team/worker2',
      'a/planner',
      'agent',
    ];
    await expectEachRefused(
      strict,
      others.map((name) => attack('caller_not_allowed', name, () => as(name))),
    );
  } finally {
    await strict.close();
  }
});

test('the actor of a token is a caller only by a whole SPIFFE ID', async () => {
  const strict = await openWayIn({ inbound: { callers: ['spiffe://example.org/team/**'] } });
  try {
    const as = async (sub: string): Promise<() => Promise<RawAnswer>> => {
      const caller = await strict.caller({ act: { sub } });
      return () => caller.send({ path: '/x' });
    };
    for (const name of ['team', 'team/a', 'team/a/b'])
      await expectPasses(strict, name, await as(`spiffe://example.org/${name}`));
    const none = ['team/../other', 'team/.', 'team//a', 'team/a/', 'team/a%2fb', 'team/a?b', 'team/a b', 'team/ü'];
    const attacks = none.map(async (name) => attack('token_invalid', name, await as(`spiffe://example.org/${name}`)));
    await expectEachRefused(strict, [
      ...(await Promise.all(attacks)),
      attack('caller_not_allowed', 'another one', await as('spiffe://example.org/team2')),
      attack('caller_not_allowed', 'no SPIFFE ID', await as('team/a')),
    ]);
  } finally {
    await strict.close();
  }
});

test('mTLS beside DPoP: each token by its own proof, and a JWT-SVID never without its certificate', async () => {
  const mixed = await openWayIn({
    authority,
    origin: 'https://agent.example.org',
    inbound: (issuer) => ({
      accept: [
        { issuer, proof: 'dpop' },
        { trust_domain: 'example.org', proof: 'mtls' },
      ],
    }),
  });
  try {
    const user = await tlsCaller(mixed, undefined);
    const token = await mixed.to.mint({ cnf: { jkt: user.key.jkt } });
    await user.send({ token, proof: null });
    await expectPasses(mixed, 'DPoP without certificate', () => user.send({ token }));
    const { nonce } = user;
    const now = Math.floor(Date.now() / 1000);
    const times = { iat: now, exp: now + 60 };
    const domain = 'spiffe://example.org';
    const jwtSvid = authority.issueJwt({ sub: `${domain}/planner`, aud: [mixed.origin], iss: domain, ...times });
    const behind = await tlsCaller(mixed, planner);
    const proof = makeProof({ method: 'GET', url: `${mixed.origin}/`, token, nonce }, user.key);
    await expectPasses(mixed, 'DPoP over a connection with a certificate', () => behind.send({ token, proof }));
    const twice = await mixed.to.mint({ cnf: { jkt: behind.key.jkt, 'x5t#S256': planner.x5t } });
    await behind.send({ token: twice, proof: null });
    await expectPasses(mixed, 'DPoP and certificate', () => behind.send({ token: twice }));
    const [stolen, other] = [await tlsCaller(mixed, undefined), await tlsCaller(mixed, await svidOf('worker'))];
    const withItsKey = (by: Caller) => by.send({ token: twice, key: behind.key, nonce: behind.nonce });
    await expectEachRefused(mixed, [
      attack('token_missing', 'nothing', () => user.send({ token: null, proof: null })),
      attack('proof_missing', 'a JWT-SVID', () => user.send({ token: jwtSvid, scheme: 'Bearer', proof: null })),
      attack('proof_missing', 'a certificate is no proof of a key', () => behind.send({ token, proof: null })),
      attack('proof_missing', 'the key alone', () => withItsKey(stolen)),
      attack('token_foreign_presenter', 'the key, and the certificate of another', () => withItsKey(other)),
      attack('token_invalid', 'a key-bound token as Bearer', () =>
        behind.send({ token, scheme: 'Bearer', proof: null }),
      ),
    ]);
  } finally {
    await mixed.close();
  }
});

test('a proof that nobody looked at is not shown to a program that gets the token as it came', async () => {
  const shown = await openWayIn({
    authority,
    origin: 'https://agent.example.org',
    inbound: (issuer) => ({ accept: [{ issuer, proof: 'mtls' }], present: 'unsafe_original' }),
  });
  try {
    const token = await shown.to.mint({ cnf: { 'x5t#S256': planner.x5t } });
    const caller = await tlsCaller(shown, planner);
    for (const proofs of [[], ['one'], ['one', 'two']]) {
      const headers = proofs.map((proof): [string, string] => ['DPoP', proof]);
      await expectPasses(shown, proofs.join(), () => caller.send({ token, scheme: 'Bearer', proof: null, headers }));
      const { headers: seen } = shown.program.seen.at(-1)!;
      expect([seen.authorization, seen['dpop']]).toEqual([`Bearer ${token}`, undefined]);
    }
  } finally {
    await shown.close();
  }
});
