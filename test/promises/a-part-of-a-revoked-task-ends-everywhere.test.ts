import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Authority } from '../../proxy/embedded/authority.ts';
import { eventually } from '../fakes/eventually.ts';
import { type KeyIssuer, openKeyIssuer } from '../fakes/key-issuer.ts';
import { openFakeStore, type FakeStore } from '../fakes/store.ts';
import { chainAlong, openHops } from '../stage/chain-maker.ts';
import { openFleetStage, type FleetStage } from '../stage/fleet.ts';
import { callOperator, type StagedTask } from '../stage/sidecar-process.ts';
import { certificateOf, tlsCaller } from '../stage/tls-caller.ts';
import { openDomain, openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

let store: FakeStore;
let authority: Authority;
let tts: KeyIssuer;
let fleet: FleetStage;
/** A hop behind the others: requests of their tasks open tasks of its own there. */
let behind: WayInStage;

beforeEach(async () => {
  store = await openFakeStore();
  authority = await openDomain();
  tts = await openKeyIssuer('example.org');
  const section = { store: `valkey://127.0.0.1:${store.port}` };
  fleet = await openFleetStage(2, section);
  behind = await openWayIn({
    authority,
    origin: 'https://agent.example.org',
    inbound: (issuer) => ({
      accept: [{ issuer, proof: 'mtls' }],
      txn_token: { audience: 'example.org', issuer: tts.issuer },
    }),
    sections: { tasks: { mode: 'detached' }, fleet: section },
  });
  await fleet.ready();
  const { health } = behind.sidecar.addresses;
  await eventually('ready', async () => (await fetch(`http://${health}/readyz`)).ok, 20_000);
});
afterEach(async () => {
  await fleet?.close();
  await behind?.close();
  await tts?.close();
  await store?.close();
});

/** Sends a request of a task on to the hop behind, as its sidecar would; or one that no hop was before. */
async function sendOn(
  { txn }: Partial<Pick<StagedTask, 'txn'>>,
  sub: string,
  headers: readonly (readonly [string, string])[] = [],
): Promise<unknown> {
  const client = certificateOf(await authority.issueX509('spiffe://example.org/planner', 3600));
  const token = await behind.to.mint({ sub, cnf: { 'x5t#S256': client.x5t } });
  const errand = { subject: { iss: behind.service.issuer, sub }, resource: behind.origin, jkt: 'A'.repeat(43) };
  const hops = await openHops(authority, 'planner');
  const chain = txn === undefined ? {} : { chain: chainAlong(hops, { ...errand, txn }) };
  const caller = await tlsCaller(behind, client);
  const answer = await caller.send({ path: '/x', token, scheme: 'Bearer', proof: null, headers, ...chain });
  return answer.status === 200 ? 200 : answer.code;
}

async function tasksBehind(): Promise<readonly { readonly txn: string; readonly subject: { readonly sub: string } }[]> {
  const { body } = await callOperator(behind.sidecar.addresses.socket, 'GET', '/v1/tasks?state=open');
  return body['tasks'] as Awaited<ReturnType<typeof tasksBehind>>;
}
const openBehind = async (): Promise<unknown[]> => (await tasksBehind()).map(({ subject }) => subject.sub);

test.for([0, 1])(
  'W11: what the sub-tasks of a revoked task sent on ends at the hops behind, told at sidecar %i; others go on',
  async (at) => {
    const [first] = fleet.replicas;
    const task = await first!.task('alice');
    const child = await first!.task('bob', { parent: task.txn });
    const grandchild = await first!.task('carol', { parent: child.txn });
    const over = await first!.task('dave', { parent: task.txn });
    const other = await first!.task('erin');
    expect(await sendOn(child, 'bob')).toBe(200);
    expect(await sendOn(grandchild, 'carol')).toBe(200);
    expect(await sendOn(over, 'dave')).toBe(200);
    expect(await sendOn(other, 'erin')).toBe(200);
    await callOperator(first!.sidecar.addresses.socket, 'POST', `/v1/tasks/${over.txn}/complete`, {});
    expect(await openBehind()).toEqual(['bob', 'carol', 'dave', 'erin']);
    expect((await fleet.revoke(at, { task: task.txn })).body).toMatchObject({ fleet: 'stored' });
    await eventually('theirs have ended', async () => (await openBehind()).join() === 'erin', 3000);
    // Nor does a request that was on its way then open another one.
    expect(await sendOn(child, 'bob')).toBe('token_invalid');
    expect(await sendOn(other, 'erin')).toBe(200);
  },
);

test('W11: so does what a task with a revoked transaction token sent on, also where it came back', async () => {
  const iat = Math.floor(Date.now() / 1000);
  const { iss: _optional, jti: _none, client_id: _other, ...base } = tts.claims({ iat, exp: iat + 120 });
  const said = { ...base, txn: 'order 4711', scope: 'invoices.read', req_wl: 'gateway' };
  const txnToken = tts.token(said, { typ: 'txntoken+jwt' });
  expect(await sendOn({}, 'alice', [['Txn-Token', txnToken]])).toBe(200);
  const [own] = await tasksBehind();
  expect(await sendOn(own!, 'bob')).toBe(200);
  expect(await sendOn({}, 'carol')).toBe(200);
  expect((await fleet.revoke(0, { task: 'order 4711' })).body).toMatchObject({ fleet: 'stored' });
  await eventually('theirs have ended', async () => (await openBehind()).join() === 'carol', 3000);
  await eventually('all are told', () => store.sets.get('waybill:revoked:tasks')?.has(own!.txn) === true);
});
