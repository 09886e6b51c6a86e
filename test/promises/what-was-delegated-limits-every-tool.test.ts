import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Authority } from '../../proxy/embedded/authority.ts';
import type { Caller } from '../stage/caller.ts';
import { chainAlong, openHops } from '../stage/chain-maker.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { callThrough, type RawAnswer } from '../stage/raw-call.ts';
import { expectRefused } from '../stage/refused-calls.ts';
import { expectPasses } from '../stage/refused-way-in.ts';
import { openDomain, openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

let authority: Authority;
let tool: EchoTool;
let stage: WayInStage;
let caller: Caller;

/** Tools with a token, in each way that one can go out. The chain is shown to the first only. */
const withToken = ['shown', 'quiet', 'bearer'] as const;
const resourceOf = (name: string): string => `http://${name}.test`;

beforeAll(async () => {
  authority = await openDomain();
  tool = await openEchoTool();
  const { port } = tool;
  stage = await openWayIn({
    authority,
    inbound: { present: 'handle' },
    sections: { tasks: { linger: '1m' } },
    tools: {
      shown: { port, proof: 'dpop' },
      quiet: { port, proof: 'dpop', more: { chain: 'none' } },
      bearer: { port },
      grave: { port, proof: 'dpop', more: { risk: 'write', chain: 'none' } },
      plain: { port, token: false },
    },
  });
  caller = await stage.caller();
});
afterAll(async () => {
  await stage?.close();
  await tool?.close();
});

/** The handle of a task that was opened with a chain that allows this; without: by a request without a chain. */
async function openTask(may: { resources: string[]; risk: string; hops: number } | undefined): Promise<string> {
  const subject = { iss: stage.service.issuer, sub: 'alice' };
  const errand = { subject, resource: stage.origin, jkt: caller.key.jkt };
  const chain = may && chainAlong(await openHops(authority, 'planner'), errand, { 0: { may } });
  await expectPasses(stage, 'request', () => caller.send(chain === undefined ? {} : { chain }));
  return String(stage.program.seen.at(-1)?.headers.authorization).replace('Bearer ', '');
}

const use = (name: string, handle: string): Promise<RawAnswer> =>
  callThrough(stage.sidecar.addresses.outbound, `${resourceOf(name)}/x`, { handle });

/** Calls of these tools are refused for what the chain does not allow: no token is asked for, no tool is called. */
async function expectNotReached(names: readonly string[], handle: string, why: string): Promise<void> {
  const [asked, seen] = [stage.service.counts.token, tool.seen.length];
  const calls = [];
  for (const name of names) calls.push({ what: name, answer: await use(name, handle) });
  await expectRefused(stage.sidecar.eventsFile, calls, 403, 'tool_not_in_task');
  for (const { answer } of calls) expect(answer.body).toContain(`(${why})`);
  expect([stage.service.counts.token, tool.seen.length]).toEqual([asked, seen]);
}

async function expectReached(names: readonly string[], handle: string): Promise<void> {
  for (const name of names) expect([name, (await use(name, handle)).status]).toEqual([name, 200]);
}

test('delegated to us and no further: no tool gets a token, shown the chain or not; one without token is not concerned', async () => {
  const handle = await openTask({ resources: [stage.origin], risk: 'read', hops: 0 });
  await expectNotReached(withToken, handle, 'hops_used_up');
  const seen = tool.seen.length;
  await expectReached(['plain'], handle);
  expect(tool.seen.slice(seen).map(({ headers }) => headers.authorization)).toEqual([undefined]);
});

test('delegated to other tools: those that are not named get no token', async () => {
  const handle = await openTask({ resources: [stage.origin, resourceOf('other')], risk: 'read', hops: 1 });
  await expectNotReached(withToken, handle, 'resource_not_delegated');
  for (const name of withToken) {
    const own = await openTask({ resources: [stage.origin, resourceOf(name)], risk: 'read', hops: 1 });
    await expectReached([name, 'plain'], own);
    const others = withToken.filter((other) => other !== name);
    await expectNotReached(others, own, 'resource_not_delegated');
  }
});

test('delegated to them, they are used: each with the token of the user, and the chain where it is shown', async () => {
  const resources = [stage.origin, ...[...withToken, 'grave'].map(resourceOf)];
  const handle = await openTask({ resources, risk: 'read', hops: 1 });
  const seen = tool.seen.length;
  await expectReached(withToken, handle);
  const chains = tool.seen.slice(seen).map(({ headers }) => typeof headers['waybill-delegation']);
  expect(chains).toEqual(['string', 'undefined', 'undefined']);
  const { subject } = readRecord(stage.sidecar.eventsFile).findLast(({ event }) => event === 'call.admitted')!;
  expect(subject).toEqual({ iss: stage.service.issuer, sub: 'alice' });
});

test('delegated for less than the tool may do: it gets no token', async () => {
  const resources = [stage.origin, ...[...withToken, 'grave'].map(resourceOf)];
  const handle = await openTask({ resources, risk: 'read', hops: 1 });
  await expectNotReached(['grave'], handle, 'risk_not_delegated');
  await expectReached(['grave'], await openTask({ resources, risk: 'write', hops: 1 }));
});

test('without a chain nothing was delegated, and nothing is limited by it', async () => {
  await expectReached([...withToken, 'grave', 'plain'], await openTask(undefined));
});
