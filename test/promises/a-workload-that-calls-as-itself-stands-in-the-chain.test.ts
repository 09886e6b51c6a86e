import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Authority } from '../../proxy/embedded/authority.ts';
import { readRecord } from '../stage/event-record.ts';
import { openCaller } from '../stage/caller.ts';
import { chainAlong, openHops } from '../stage/chain-maker.ts';
import { callThrough } from '../stage/raw-call.ts';
import { expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import { certificateOf, tlsCaller } from '../stage/tls-caller.ts';
import { openDomain, openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const id = (name: string): string => `spiffe://example.org/${name}`;
let authority: Authority;
let tool: WayInStage;
let agent: WayInStage;

beforeAll(async () => {
  authority = await openDomain();
  tool = await openWayIn({
    authority,
    name: 'crm',
    service: { clientSubject: id('agent') },
    inbound: { program: 'tool', present: 'original', chain: { require: true } },
  });
  agent = await openWayIn({
    authority,
    shares: tool.service,
    origin: 'https://agent.example.org',
    inbound: { present: 'handle', accept: [{ trust_domain: 'example.org', proof: 'mtls' }] },
    sections: {
      tools: {
        crm: {
          match: { host: 'crm.localhost' },
          dial: tool.to.address(),
          on_behalf_of: 'any',
          chain: 'full',
          token: { from: 'corp', resource: tool.origin, proof: 'dpop' },
        },
      },
    },
  });
});
afterAll(async () => {
  await agent?.close();
  await tool?.close();
});

test('where a tool is to have it, it is the root of what its callee delegates, under the callee’s own token', async () => {
  const planner = certificateOf(await authority.issueX509(id('planner'), 3600));
  const caller = await tlsCaller(agent, planner);
  await expectPasses(agent, 'the workload', () => caller.send({ token: null, proof: null }));
  const handle = String(agent.program.seen.at(-1)?.headers.authorization).replace('Bearer ', '');
  await expectPasses(tool, 'its call', () =>
    callThrough(agent.sidecar.addresses.outbound, `${tool.origin}/x`, { handle }),
  );

  const inbound = readRecord(tool.sidecar.eventsFile).findLast(({ event }) => event === 'call.admitted');
  expect(inbound).toMatchObject({ chain: [id('agent')], subject: { sub: id('agent') } });
  const outbound = readRecord(agent.sidecar.eventsFile).findLast(({ way }) => way === 'out');
  expect(outbound).toMatchObject({ subject: { sub: id('planner') }, chain: [id('agent')] });
});

test('beside a token of anybody else that chain is spliced', async () => {
  const other = { iss: 'spiffe://example.org', sub: id('planner') };
  const caller = await tool.caller({ sub: 'alice' });
  const hops = await openHops(authority, 'agent');
  const chain = chainAlong(hops, { subject: other, resource: tool.origin, jkt: caller.key.jkt });
  await expectEachRefused(tool, [{ what: 'of a user', code: 'chain_spliced', send: () => caller.send({ chain }) }]);
  const own = await openCaller(tool.to, { sub: id('agent') });
  const chainOf = (subject: typeof other, jkt: string): string =>
    chainAlong(hops, { subject, resource: tool.origin, jkt });
  await own.send({ proof: null });
  await expectPasses(tool, 'of its last hop', () => own.send({ chain: chainOf(other, own.key.jkt) }));
  await expectEachRefused(tool, [
    {
      what: 'of its last hop, where a user began it',
      code: 'chain_spliced',
      send: () => own.send({ chain: chainOf({ iss: tool.service.issuer, sub: 'alice' }, own.key.jkt) }),
    },
    {
      what: 'where it began in another trust domain than it says',
      code: 'chain_spliced',
      send: () => own.send({ chain: chainOf({ iss: 'spiffe://other.org', sub: id('planner') }, own.key.jkt) }),
    },
  ]);
});

test('nor does a workload that comes without a token bring the chain of a user: it is not carried on', async () => {
  const client = certificateOf(await authority.issueX509(id('planner'), 3600));
  const caller = await tlsCaller(agent, client);
  const hops = await openHops(authority, 'front', 'planner');
  const chainOf = (iss: string, sub: string): string =>
    chainAlong(hops, { subject: { iss, sub }, resource: agent.origin, jkt: caller.key.jkt });
  const bare = { token: null, proof: null };
  await expectPasses(agent, 'of a workload', () =>
    caller.send({ ...bare, chain: chainOf('spiffe://example.org', id('front')) }),
  );
  await expectEachRefused(agent, [
    {
      what: 'of a user',
      code: 'chain_spliced',
      send: () => caller.send({ ...bare, chain: chainOf(tool.service.issuer, 'alice') }),
    },
  ]);
});
