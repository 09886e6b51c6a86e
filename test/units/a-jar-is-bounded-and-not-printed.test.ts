import { inspect } from 'node:util';
import { expect, test } from 'vitest';
import { CookieJars } from '../../proxy/forward/cookies/cookie-jars.ts';
import { originOf } from '../../proxy/intercept/origin.ts';
import { PeerBinding } from '../../proxy/tasks/peer-binding.ts';
import { Errand, Task } from '../../proxy/tasks/task.ts';
import { realWorld } from '../../proxy/world.ts';

const target = (port = 443) => ({ origin: originOf('https', 'crm.example.org', port), path: '/a?b' });
const jars = (): CookieJars => new CookieJars(realWorld([]));

function openTask(): Task {
  return new Task({
    txn: 't',
    subject: { iss: '', sub: 'alice', kind: 'user' },
    grant: undefined,
    purpose: '',
    tools: new Set(),
    openedAtMs: 0,
    expiresAtMs: Infinity,
    parent: undefined,
    standing: false,
    caller: '',
    chain: undefined,
    txnToken: undefined,
    issuedAtMs: undefined,
    peer: new PeerBinding({}),
    closedTools: new Set(),
  });
}

test('nothing of a cookie is printed, read or not', async () => {
  const all = jars();
  const owner = new Errand(openTask(), 'crm');
  all.take(owner, target(), ['sid=very-secret-0123456789']);
  const printed = (): string => inspect(all, { depth: Infinity, showHidden: true }) + JSON.stringify(all);
  expect(printed()).not.toContain('very-secret');
  expect(await all.headerFor(owner, target())).toBe('sid=very-secret-0123456789');
  expect(printed() + inspect(all.secretsOf(owner, target()), { showHidden: true })).not.toContain('very-secret');
});

test('a task has jars for eight origins of a tool, and all tasks have 4,096', async () => {
  const all = jars();
  const owner = new Errand(openTask(), 'crm');
  for (let port = 1; port <= 9; port += 1) all.take(owner, target(port), [`p=${port}`]);
  expect(await all.headerFor(owner, target(8))).toBe('p=8');
  expect(await all.headerFor(owner, target(9))).toBeUndefined();
  const others = Array.from({ length: 4095 }, () => new Errand(openTask(), 'crm'));
  for (const other of others) all.take(other, target(), ['o=1']);
  expect([await all.headerFor(owner, target(7)), await all.headerFor(owner, target(8))]).toEqual([undefined, 'p=8']);
  const last = others.at(-1);
  expect(last === undefined ? '' : await all.headerFor(last, target())).toBe('o=1');
});

test('what waits to be read is bounded: 16 KiB, the oldest go', async () => {
  const all = jars();
  const owner = new Errand(openTask(), 'crm');
  all.take(owner, target(), ['old=1']);
  // Too long to be kept, once they are read.
  for (let at = 0; at < 3; at += 1) all.take(owner, target(), [`n${at}=${'x'.repeat(8000)}`, `m${at}=1`]);
  expect(await all.headerFor(owner, target())).toBe('m0=1; m1=1; m2=1');
  all.take(owner, { ...target(), path: `/${'p'.repeat(5000)}/x` }, ['long=1']);
  expect(await all.headerFor(owner, target())).toBe('m0=1; m1=1; m2=1; long=1');
});

test('what comes when the task has ended is kept nowhere', async () => {
  const all = jars();
  const task = openTask();
  const owner = new Errand(task, 'crm');
  task.end('completed', 'test', 0, false);
  all.take(owner, target(), ['s=1']);
  expect(await all.headerFor(owner, target())).toBeUndefined();
});

test('at most eight values are masked, the newest, and the same value is the same secret', () => {
  const all = jars();
  const owner = new Errand(openTask(), 'crm');
  const value = (at: number): string => `value-number-${String(at).padStart(4, '0')}`;
  all.take(
    owner,
    target(),
    Array.from({ length: 12 }, (_, at) => `n${at}=${value(at)}; Path=/`),
  );
  const first = all.secretsOf(owner, target());
  expect(first.map((one) => one.reveal())).toEqual(Array.from({ length: 8 }, (_, at) => value(11 - at)));
  expect(all.secretsOf(owner, target())).toEqual(first);
  expect(all.secretsOf(owner, target())[0]).toBe(first[0]);
});
