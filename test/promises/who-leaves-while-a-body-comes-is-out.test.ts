import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Authority } from '../../proxy/embedded/authority.ts';
import type { Caller, CallerRequest } from '../stage/caller.ts';
import { chainAlong, openHops } from '../stage/chain-maker.ts';
import { reconfigure } from '../stage/config-edit.ts';
import { exchangeOn } from '../stage/raw-call.ts';
import { type Attack, expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import { callOperator } from '../stage/sidecar-process.ts';
import { certificateOf, tlsCaller, type ClientCertificate } from '../stage/tls-caller.ts';
import { openDomain, openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const id = (name: string): string => `spiffe://example.org/${name}`;
let authority: Authority;
let stage: WayInStage;

beforeEach(async () => {
  authority = await openDomain();
  stage = await openWayIn({
    authority,
    origin: 'https://agent.example.org',
    inbound: (issuer) => ({
      accept: [
        { issuer, proof: 'mtls', presenters: { clerk: id('clerk') } },
        { trust_domain: 'example.org', proof: 'mtls' },
      ],
      callers: [id('planner'), id('clerk')],
    }),
  });
});
afterEach(() => stage?.close());

const svidOf = async (name: string, ttlSeconds = 3600): Promise<ClientCertificate> =>
  certificateOf(await authority.issueX509(id(name), ttlSeconds));
const now = (): number => Math.floor(Date.now() / 1000);

/** A request whose last byte comes when the rest has happened. */
async function sendDuring(caller: Caller, request: CallerRequest, happens: () => Promise<unknown>) {
  const bytes = caller.bytes({ method: 'POST', path: '/slow', body: 'hello', proof: null, ...request });
  const socket = await caller.connect();
  try {
    socket.write(bytes.subarray(0, -1));
    await sleep(200);
    await happens();
    return await exchangeOn(socket, bytes.subarray(-1));
  } finally {
    socket.destroy();
  }
}

async function attack(
  [what, code]: readonly [string, string],
  client: ClientCertificate,
  request: CallerRequest,
  happens: () => Promise<unknown>,
): Promise<Attack> {
  const caller = await tlsCaller(stage, client);
  return { what, code, send: () => sendDuring(caller, { scheme: 'Bearer', ...request }, happens) };
}

const bound = ({ x5t }: ClientCertificate, changes: Record<string, unknown> = {}): Promise<string> =>
  stage.to.mint({ cnf: { 'x5t#S256': x5t }, ...changes });
const inbound = (change: Record<string, unknown>) =>
  reconfigure(stage, (sections) => Object.assign(sections['inbound'] ?? {}, change));

test('W1: whose certificate or chain ends while the body comes opens no task', async () => {
  const [planner, clerk] = [await svidOf('planner'), await svidOf('clerk')];
  const errand = { subject: { iss: stage.service.issuer, sub: 'alice' }, resource: stage.origin, jkt: 'A'.repeat(43) };
  const hops = await openHops(authority, 'clerk');
  const rest = () => sleep(3300);
  await expectPasses(stage, 'slow, and in time', async () =>
    sendDuring(await tlsCaller(stage, planner), { token: null }, () => sleep(500)),
  );
  const chain = (): string => chainAlong(hops, errand, { 0: { iat: now() - 1, exp: now() + 3 } });
  await expectEachRefused(stage, [
    await attack(['the certificate', 'caller_not_allowed'], await svidOf('planner', 3), { token: null }, rest),
  ]);
  const token = await bound(clerk);
  await expectEachRefused(stage, [
    await attack(['the chain beside a token', 'chain_broken'], clerk, { token, chain: chain() }, rest),
  ]);
});

test('W1: whom a change of the configuration takes out while the body comes opens no task', async () => {
  const [planner, clerk] = [await svidOf('planner'), await svidOf('clerk')];
  const { accept } = { accept: [{ trust_domain: 'example.org', proof: 'mtls' }] };
  const issuer = { issuer: stage.service.issuer, proof: 'mtls' };
  const token = await bound(planner);
  const plain = await stage.to.mint({ client_id: 'clerk' });
  await expectPasses(stage, 'a change of something else', async () =>
    sendDuring(await tlsCaller(stage, planner), { token, scheme: 'Bearer' }, () => inbound({ present: 'headers' })),
  );
  await expectEachRefused(stage, [
    await attack(['the caller', 'caller_not_allowed'], planner, { token }, () => inbound({ callers: [id('clerk')] })),
    await attack(['the presenter of a plain token', 'token_invalid'], clerk, { token: plain }, () =>
      inbound({ accept: [issuer, ...accept] }),
    ),
    await attack(['the issuer', 'token_invalid'], clerk, { token: await bound(clerk) }, () => inbound({ accept })),
    await attack(['the trust domain', 'token_missing'], clerk, { token: null }, () => inbound({ accept: [issuer] })),
  ]);
});

test('W11: who is revoked while the body comes opens no task', async () => {
  const [planner, clerk] = [await svidOf('planner'), await svidOf('clerk')];
  const revoke = (what: Record<string, unknown>) => () =>
    callOperator(stage.sidecar.addresses.socket, 'POST', '/v1/revoke', { ...what, reason: 'test' });
  const subject = { iss: stage.service.issuer, sub: 'alice' };
  await expectEachRefused(stage, [
    await attack(['the user', 'token_invalid'], planner, { token: await bound(planner) }, revoke({ subject })),
    await attack(['the workload', 'caller_not_allowed'], clerk, { token: null }, revoke({ agent: id('clerk') })),
    await attack(
      ['the workload of another user', 'token_invalid'],
      clerk,
      { token: await bound(clerk, { sub: 'bob' }) },
      revoke({ agent: id('clerk') }),
    ),
    await attack(
      ['all', 'token_invalid'],
      planner,
      { token: await bound(planner, { sub: 'carol' }) },
      revoke({ all: true }),
    ),
  ]);
  expect(await stage.sidecar.metric('waybill_tasks_open')).toBe(0);
});
