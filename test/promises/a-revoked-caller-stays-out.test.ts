import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Authority } from '../../proxy/embedded/authority.ts';
import type { Hop } from '../fakes/delegation-hops.ts';
import { chainAlong, openHops } from '../stage/chain-maker.ts';
import { callOperator } from '../stage/sidecar-process.ts';
import { certificateOf, tlsCaller, type ClientCertificate } from '../stage/tls-caller.ts';
import { openDomain, openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const planner = 'spiffe://example.org/planner';
const corp = 'https://corp.example.org';
let authority: Authority;
let stage: WayInStage;

beforeAll(async () => {
  authority = await openDomain();
  stage = await openWayIn({
    authority,
    origin: 'https://agent.example.org',
    inbound: (issuer) => ({
      accept: [
        { issuer, proof: 'mtls' },
        { trust_domain: 'example.org', proof: 'mtls' },
      ],
      subject_map: { [issuer]: corp },
    }),
    sections: { tasks: { mode: 'detached' } },
  });
});
afterAll(() => stage?.close());

const svidOf = async (id: string): Promise<ClientCertificate> => certificateOf(await authority.issueX509(id, 3600));
const revoke = (what: Record<string, unknown>) =>
  callOperator(stage.sidecar.addresses.socket, 'POST', '/v1/revoke', { ...what, reason: 'test' });

const chainFrom = (hops: readonly Hop[], subject: { readonly iss: string; readonly sub: string }): string =>
  chainAlong(hops, { subject, resource: stage.origin, jkt: 'A'.repeat(43) });

async function mint(client: ClientCertificate, sub: string): Promise<string> {
  return stage.to.mint({ sub, cnf: { 'x5t#S256': client.x5t } });
}

async function send(client: ClientCertificate, token: string | null, chain?: string) {
  const caller = await tlsCaller(stage, client);
  const answer = await caller.send({
    path: '/x',
    token,
    scheme: 'Bearer',
    proof: null,
    ...(chain === undefined ? {} : { chain }),
  });
  return answer.status === 200 ? 200 : answer.code;
}

test('W11: a user who was revoked comes in with a new token only, whoever presents the old one; others as before', async () => {
  const own = await svidOf(planner);
  const [alice, bob] = [await mint(own, 'alice'), await mint(own, 'bob')];
  expect([await send(own, alice), await send(own, bob)]).toEqual([200, 200]);
  await revoke({ subject: { iss: stage.service.issuer, sub: 'alice' } });
  const seen = stage.program.seen.length;
  expect(await send(own, alice)).toBe('token_invalid');
  expect(stage.program.seen.length).toBe(seen);
  expect(await send(own, bob)).toBe(200);
  await sleep(1100);
  expect(await send(own, await mint(own, 'alice'))).toBe(200);
});

test('W11: a user who was revoked under the name of his chain comes in by no chain that began before', async () => {
  const [own, hops] = [await svidOf(planner), await openHops(authority, 'planner')];
  const chainOf = (sub: string) => chainFrom(hops, { iss: corp, sub });
  const [dave, erin] = [chainOf('dave'), chainOf('erin')];
  const [token, other] = [await mint(own, 'dave'), await mint(own, 'erin')];
  expect([await send(own, token, dave), await send(own, other, erin)]).toEqual([200, 200]);
  const answer = await revoke({ subject: { iss: corp, sub: 'dave' } });
  expect(answer).toMatchObject({ status: 200, body: { tasks: 1 } });
  expect(await send(own, token, dave)).toBe('token_invalid');
  expect(await send(own, other, erin)).toBe(200);
  await sleep(1100);
  // A token from before does not come back by a new link, and a new one does not by an old link.
  expect([await send(own, token, chainOf('dave')), await send(own, await mint(own, 'dave'), dave)]).toEqual(
    Array(2).fill('token_invalid'),
  );
  expect(await send(own, await mint(own, 'dave'), chainOf('dave'))).toBe(200);
});

test('W11: nor by a chain that began with a workload that was revoked since, where no token comes along', async () => {
  const [own, hops] = [await svidOf(planner), await openHops(authority, 'planner')];
  const front = { iss: 'spiffe://example.org', sub: 'spiffe://example.org/front' };
  const chain = chainFrom(hops, front);
  expect(await send(own, null, chain)).toBe(200);
  expect(await revoke({ subject: front })).toMatchObject({ status: 200, body: { tasks: 1 } });
  expect(await send(own, null, chain)).toBe('caller_not_allowed');
  await sleep(1100);
  expect(await send(own, null, chainFrom(hops, front))).toBe(200);
});

test('W11: a workload that was revoked comes in with a new SVID only, even with a new token of a user', async () => {
  const [own, worker] = [await svidOf(planner), await svidOf('spiffe://example.org/worker')];
  expect([await send(own, null), await send(worker, null)]).toEqual([200, 200]);
  await revoke({ agent: planner });
  expect([await send(own, null), await send(worker, null)]).toEqual(['caller_not_allowed', 200]);
  await sleep(1100);
  expect(await send(own, await mint(own, 'carol'))).toBe('token_invalid');
  expect(await send(worker, await mint(worker, 'carol'))).toBe(200);
  // The authority dates certificates back by 10 s.
  await sleep(10_500);
  const renewed = await svidOf(planner);
  expect([await send(renewed, null), await send(renewed, await mint(renewed, 'carol'))]).toEqual([200, 200]);
}, 30_000);
