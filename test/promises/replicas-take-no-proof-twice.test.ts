import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ConnectionBalancer, openConnectionBalancer } from '../fakes/connection-balancer.ts';
import { type FakeTokenService, openFakeTokenService } from '../fakes/token-service.ts';
import { Caller, type Destination, openCaller } from '../stage/caller.ts';
import { readRecord } from '../stage/event-record.ts';
import { startLoad } from '../stage/load.ts';
import { basic, exchangeOn } from '../stage/raw-call.ts';
import { refusalCounts } from '../stage/refused-way-in.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const secret = 'stage-client-secret-0123456789abcdef';
const origin = 'http://tool.localhost';
let service: FakeTokenService;
/** Two replicas of one tool, each with a program of its own, and the sidecar of an agent that calls them. */
let replicas: [WayInStage, WayInStage];
let balancer: ConnectionBalancer;
let agent: Stage;
let to: Destination;
/** Of which the balancer knows that they are stopping: their connections go to the other one. */
const isDown = [false, false];

beforeAll(async () => {
  service = await openFakeTokenService({ secret });
  const open = () => openWayIn({ name: 'tool', shares: service, inbound: { program: 'tool', present: 'original' } });
  replicas = [await open(), await open()];
  balancer = await openConnectionBalancer(
    replicas.map(
      ({ to: own }, at) =>
        () =>
          (isDown[at] === true ? replicas[1 - at]! : { to: own }).to.address(),
    ),
  );
  const token = { from: 'corp', resource: origin, scopes: ['tool.read'], proof: 'dpop' };
  const tool = { match: { host: 'tool.localhost' }, dial: `127.0.0.1:${balancer.port}`, token };
  agent = await openStage({ shares: service, tools: {}, sections: { tools: { tool } } });
  const address = (): string => `127.0.0.1:${balancer.port}`;
  to = { address, origin, mint: (claims) => service.subjectToken({ aud: origin, ...claims }) };
});
afterAll(async () => {
  await agent?.close();
  await balancer?.close();
  for (const replica of replicas ?? []) await replica.close();
  await service?.close();
});

const seen = (): string[] => replicas.flatMap(({ program }) => program.seen.map(({ path }) => path));

test('two replicas behind a balancer of connections: no proof passes twice', async () => {
  const caller = await openCaller(to);
  const sockets = await Promise.all(Array.from({ length: 8 }, () => caller.connect()));
  // One connection after the other: the even ones lead to one replica, the odd ones to the other.
  const nonces = new Map<number, string | undefined>();
  for (const [at, socket] of sockets.entries()) {
    nonces.set(at, (await caller.send({ proof: null }, socket)).headers['dpop-nonce']);
  }
  expect(nonces.get(0)).toBe(nonces.get(2));
  expect(nonces.get(0)).not.toBe(nonces.get(1));
  const codes: Record<string, number> = {};
  const rounds = 250;
  for (let round = 0; round < rounds; round += 1) {
    const bytes = caller.bytes({ path: `/race/${round}`, nonce: nonces.get(round % 2) });
    const at = (round * 4) % 8;
    const four = await Promise.all(sockets.slice(at, at + 4).map((socket) => exchangeOn(socket, bytes)));
    const told = four.map(({ status, code }) => code ?? String(status)).toSorted();
    codes[told.join(' ')] = (codes[told.join(' ')] ?? 0) + 1;
  }
  for (const socket of sockets) socket.destroy();
  expect(codes).toEqual({ '200 nonce_required nonce_required proof_reused': rounds });
  const paths = seen();
  expect([paths.length, new Set(paths).size]).toEqual([rounds, rounds]);
});

test('two replicas behind a balancer of connections: 2,000 honest calls through a way out lose none', async () => {
  for (const { program } of replicas) program.seen.length = 0;
  const before = await Promise.all(replicas.map(({ sidecar }) => refusalCounts(sidecar)));
  const tasks = await Promise.all(['alice', 'bob', 'carol', 'dave'].map((sub) => agent.task(sub)));
  const calls = 2000;
  let next = 0;
  const load = startLoad(agent.sidecar.addresses.outbound, 16, () => {
    next += 1;
    if (next > calls) return undefined;
    const { handle } = tasks[next % tasks.length]!;
    return { origin, path: `/call/${next}`, headers: { 'proxy-authorization': basic(handle) } };
  });
  await load.finished;
  const failed = load.answers.filter(({ status }) => status !== 200);
  expect(failed.map(({ path, status, body }) => `${path}: ${status} ${body}`)).toEqual([]);
  const paths = seen();
  expect([load.answers.length, paths.length, new Set(paths).size]).toEqual([calls, calls, calls]);
  expect(Math.min(...replicas.map(({ program }) => program.seen.length))).toBeGreaterThan(calls / 8);

  // Each connection was asked for its nonce once at most, and nothing else was refused.
  const after = await Promise.all(replicas.map(({ sidecar }) => refusalCounts(sidecar)));
  const grown = after.map((counts, at) =>
    Object.fromEntries(
      [...counts].map(([key, count]) => [key, count - (before[at]?.get(key) ?? 0)]).filter(([, n]) => n !== 0),
    ),
  );
  for (const counts of grown) expect(Object.keys(counts).filter((key) => key !== 'refused nonce_required')).toEqual([]);
  const asked = grown.reduce((sum, counts) => sum + Number(counts['refused nonce_required'] ?? 0), 0);
  const attempts = readRecord(agent.sidecar.eventsFile).filter(
    ({ event, attempt }) => event === 'call.admitted' && attempt === 2,
  );
  expect(attempts.length).toBe(asked);
  expect(asked).toBeLessThanOrEqual(32);
});

test('a proof that a way out made is spent where it went, and asked for a nonce at the other replica', async () => {
  for (const { program } of replicas) program.seen.length = 0;
  const task = await agent.task('erin');
  const path = '/stolen';
  const load = startLoad(
    agent.sidecar.addresses.outbound,
    1,
    once({ origin, path, headers: { 'proxy-authorization': basic(task.handle) } }),
  );
  await load.finished;
  const call = replicas.flatMap(({ program }) => program.seen).find((one) => one.path === path);
  const headers = ['authorization', 'dpop'].map((name) => String(call?.headers[name]));
  const thief = new Caller(to, (await openCaller(to)).key, '');
  const codes: (string | undefined)[] = [];
  for (const replica of replicas) {
    const stolen = new Caller(replica.to, thief.key, headers[0]!.split(' ')[1] ?? '');
    codes.push((await stolen.send({ path, proof: headers[1]! })).code);
  }
  expect(new Set(codes)).toEqual(new Set(['nonce_required', 'proof_reused']));
  expect(seen()).toEqual([path]);
});

test('a replica that is restarted, while the other one goes on, loses no honest call', async () => {
  for (const { program } of replicas) program.seen.length = 0;
  const task = await agent.task('frank');
  const headers = { 'proxy-authorization': basic(task.handle) };
  let count = 0;
  const load = startLoad(agent.sidecar.addresses.outbound, 16, () => ({ origin, path: `/on/${++count}`, headers }));
  for (const at of [0, 1] as const) {
    await sleep(500);
    isDown[at] = true;
    await replicas[at].sidecar.stop();
    await replicas[at].restart();
    isDown[at] = false;
  }
  await sleep(500);
  await load.stop();
  const failed = load.answers.filter(({ status }) => status !== 200);
  expect(failed.map(({ path, status, body }) => `${path}: ${status} ${body}`)).toEqual([]);
  const paths = seen();
  expect([load.answers.length, new Set(paths).size]).toEqual([paths.length, paths.length]);
});

function once<T>(value: T): () => T | undefined {
  let left: T | undefined = value;
  return () => {
    const given = left;
    left = undefined;
    return given;
  };
}
