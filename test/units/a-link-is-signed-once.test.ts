import { expect, test } from 'vitest';
import { checkChain, parseChain, splitChain } from '../../proxy/delegation/chain.ts';
import { digestOf, readLink, type LinkClaims } from '../../proxy/delegation/link.ts';
import {
  LinkRefused,
  LinkSigner,
  rootOf,
  type DelegatedTask,
  type NextHop,
  type SignedChain,
} from '../../proxy/delegation/link-signer.ts';
import { limits, openReceiver } from '../fakes/chain-receiver.ts';
import { openHop, subject, tool, type Hop } from '../fakes/delegation-hops.ts';

const { nowMs, authority, expecting, hops, three } = await openReceiver();
const [planner, worker, clerk] = three;
const signer = new LinkSigner();
const begun = (changes: Partial<DelegatedTask> = {}): DelegatedTask => ({
  txn: 'txn-1',
  purpose: 'reconcile invoices',
  expiresAtMs: nowMs + 600_000,
  jkt: planner.jkt,
  origin: { kind: 'token', root: rootOf(subject, 'jti 1') },
  ...changes,
});
const toTool: NextHop = { resource: tool, risk: 'write', delegate: undefined };
const toWorker: NextHop = {
  resource: worker.resource,
  risk: 'write',
  delegate: { resources: [worker.resource, clerk.resource, tool], risk: 'write', hops: 2 },
};
const sign = (task: DelegatedTask, hop: NextHop, by: Hop = planner, at = nowMs): SignedChain =>
  signer.sign({}, task, hop, by.identity, at);
const claimsOf = ({ value }: SignedChain): LinkClaims => readLink(splitChain(value).at(-1)!)!.claims;

/** The task that a chain opens at the resource it is for. */
function continued(signed: SignedChain, from: Hop, to: Hop, changes: Partial<DelegatedTask> = {}): DelegatedTask {
  const chain = checkChain(signed.value, expecting(from, { resource: to.resource }));
  return begun({ jkt: to.jkt, origin: { kind: 'chain', chain }, ...changes });
}

function refusal(make: () => unknown): string {
  try {
    make();
    return 'signed';
  } catch (error) {
    if (error instanceof LinkRefused) return error.reason;
    throw error;
  }
}

test('the first link begins with the verified token, and allows the call itself and no further hop', () => {
  const signed = sign(begun(), toTool);
  expect(signed.digest).toBe(digestOf(signed.value));
  expect(claimsOf(signed)).toEqual({
    iss: planner.identity.spiffeId,
    sub: subject.sub,
    sub_iss: subject.iss,
    aud: tool,
    txn: 'txn-1',
    purpose: 'reconcile invoices',
    may: { resources: [tool], risk: 'write', hops: 0 },
    cnf: { jkt: planner.jkt },
    root: { ...subject, jti_hash: digestOf('jti 1') },
    iat: Math.floor(nowMs / 1000),
    exp: Math.floor((nowMs + 600_000) / 1000),
  });
  expect(checkChain(signed.value, expecting(planner)).path).toEqual([planner.identity.spiffeId]);
});

test('a chain grows hop by hop, each link within the one before', () => {
  const one = sign(begun(), toWorker);
  const two = sign(
    continued(one, planner, worker),
    {
      resource: clerk.resource,
      risk: 'read',
      delegate: { resources: [tool, 'https://bank.example.org'], hops: 5, risk: 'payment' },
    },
    worker,
  );
  // The bank was not delegated, payment neither, and of two hops one is left; the tool's own resource is always there.
  expect(claimsOf(two)).toMatchObject({
    may: { resources: [clerk.resource, tool], risk: 'write', hops: 1 },
    prev: digestOf(one.value),
  });
  const end = sign(continued(two, worker, clerk), toTool, clerk);
  expect(parseChain(end.value, limits).slice(0, 2)).toEqual(splitChain(two.value));
  expect(checkChain(end.value, expecting(clerk))).toMatchObject({
    path: [planner, worker, clerk].map(({ identity }) => identity.spiffeId),
    root: { jti_hash: digestOf('jti 1') },
  });
});

test('five links of the embedded authority grow to the bounded length of a header', () => {
  let task = begun();
  let value = '';
  for (const [index, hop] of hops.entries()) {
    const next = hops[index + 1];
    const resources = [...hops.slice(index + 1).map(({ resource }) => resource), tool];
    const signed = sign(
      task,
      { resource: next?.resource ?? tool, risk: 'read', delegate: { resources, hops: 4 - index } },
      hop,
    );
    if (next !== undefined) task = continued(signed, hop, next);
    value = signed.value;
  }
  expect(checkChain(value, expecting(hops.at(-1)!)).path).toHaveLength(5);
  console.log(`five links take ${value.length} bytes`);
  expect(value.length).toBeLessThan(10_240);
});

test('a link ends with the task, with the SVID and with the chain, whichever is first', async () => {
  const brief = await openHop(authority, 'brief', 60);
  expect(claimsOf(sign(begun(), toTool, brief)).exp).toBe(brief.identity.expiresAtMs / 1000);
  expect(claimsOf(sign(begun({ expiresAtMs: Infinity }), toTool, brief)).exp).toBe(brief.identity.expiresAtMs / 1000);
  const one = sign(begun({ expiresAtMs: nowMs + 30_000 }), toWorker);
  expect(claimsOf(sign(continued(one, planner, worker), toTool, worker)).exp).toBe(Math.floor((nowMs + 30_000) / 1000));
  // An SVID of the chain that ends first ends what is built on it.
  const inherited = sign(begun(), toWorker, brief);
  const chain = checkChain(inherited.value, expecting(planner, { resource: worker.resource }));
  expect(claimsOf(sign(begun({ jkt: worker.jkt, origin: { kind: 'chain', chain } }), toTool, worker)).exp).toBe(
    brief.identity.expiresAtMs / 1000,
  );
});

test('what was not delegated is not signed', () => {
  const one = sign(begun(), toWorker);
  const task = continued(one, planner, worker);
  const rows: readonly [string, () => unknown, string][] = [
    [
      'no hop left',
      () => sign(continued(sign(begun(), { ...toWorker, delegate: undefined }), planner, worker), toTool, worker),
      'hops_used_up',
    ],
    [
      'another resource',
      () => sign(task, { ...toTool, resource: 'https://bank.example.org' }, worker),
      'resource_not_delegated',
    ],
    ['a graver risk', () => sign(task, { ...toTool, risk: 'deploy' }, worker), 'risk_not_delegated'],
    ['a second time round', () => sign(task, toTool, planner), 'hop_twice'],
    ['a task that is over', () => sign(begun({ expiresAtMs: nowMs + 900 - (nowMs % 1000) }), toTool), 'task_over'],
    ['all well', () => sign(task, toTool, worker), 'signed'],
  ];
  for (const [name, make, wanted] of rows) expect(refusal(make), name).toBe(wanted);
});

test('a link is signed once per task, tool and SVID', async () => {
  const [errand, another] = [{}, {}];
  const task = begun();
  const first = signer.sign(errand, task, toTool, planner.identity, nowMs);
  expect(signer.sign(errand, task, toTool, planner.identity, nowMs + 60_000)).toBe(first);
  expect(signer.sign(errand, task, { ...toTool }, { ...planner.identity }, nowMs)).toBe(first);
  expect(signer.sign(another, task, toTool, planner.identity, nowMs)).not.toBe(first);
  // The SVID was rotated; the configuration gives the tool more, or less.
  const rotated = await openHop(authority, 'planner');
  const second = signer.sign(errand, task, toTool, rotated.identity, nowMs);
  expect(splitChain(second.value)).not.toEqual(splitChain(first.value));
  expect(checkChain(second.value, expecting(planner)).path).toEqual([planner.identity.spiffeId]);
  const more = { ...toTool, delegate: { hops: 1 } };
  const third = signer.sign(errand, task, more, rotated.identity, nowMs);
  expect(claimsOf(third).may.hops).toBe(1);
  expect(refusal(() => signer.sign(errand, task, more, rotated.identity, nowMs + 600_000))).toBe('task_over');
});
