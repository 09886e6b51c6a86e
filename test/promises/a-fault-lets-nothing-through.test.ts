import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadSettings } from '../../config/load.ts';
import type { Bound } from '../../proxy/bind/proof.ts';
import { admit } from '../../proxy/record/admit.ts';
import type { Trail } from '../../proxy/record/trail.ts';
import { openSidecar, type Sidecar } from '../../proxy/sidecar.ts';
import { realWorld, type World } from '../../proxy/world.ts';
import { openFakeTokenService, type FakeTokenService } from '../fakes/token-service.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { eventsOf, readRecord } from '../stage/event-record.ts';
import { callThrough } from '../stage/raw-call.ts';
import { callOperator, removeFolder } from '../stage/sidecar-process.ts';

/** A world that fails where a test says so, with the words of a careless library. */
class FailingWorld implements World {
  readonly #real = realWorld([]);
  failing: keyof World | undefined;
  /** Whether it fails once and is well again, or fails until it is told otherwise. */
  once = true;
  readonly now: World['now'] = () => this.#call('now')();
  // Read before there is a call that could be refused.
  readonly monotonic: World['monotonic'] = this.#real.monotonic;
  readonly random: World['random'] = (bytes) => this.#call('random')(bytes);
  readonly resolve: World['resolve'] = (host) => this.#call('resolve')(host);
  readonly dial: World['dial'] = (address, port) => this.#call('dial')(address, port);

  #call<Name extends keyof World>(name: Name): World[Name] {
    if (this.failing !== name) return this.#real[name];
    if (this.once) this.failing = undefined;
    throw new Error(`secret words of a library about ${name}`);
  }
}

const world = new FailingWorld();
const logged: string[] = [];
let sidecar: Sidecar;
let service: FakeTokenService;
let tool: EchoTool;
let handle: string;
const dir = mkdtempSync(join(tmpdir(), 'waybill-fault-'));

beforeAll(async () => {
  service = await openFakeTokenService();
  tool = await openEchoTool();
  const yaml = `
version: 1
agent: { name: invoice-bot, purpose: reconcile }
trust: { issuers: [ { issuer: "${service.issuer}", audience: invoice-bot } ] }
token_services: { corp: { issuer: "${service.issuer}", client_auth: client_secret_post, client_id: bot, client_secret_file: "${dir}/secret" } }
tools:
  crm: { match: { host: crm.test }, dial: "127.0.0.1:${tool.port}", token: { from: corp, audience: crm, proof: dpop } }
  page: { match: { host: localhost, port: ${tool.port} }, addresses: loopback }
rules: [ { name: all, effect: allow, when: "true" } ]
listen: { outbound: "127.0.0.1:0", metrics: "127.0.0.1:0", health: "127.0.0.1:0" }
operator: { socket: "${dir}/operator.sock" }
ca: { dir: "${dir}/ca", publish: "${dir}/trust" }
record: { file: "${dir}/events.jsonl" }
`;
  writeFileSync(join(dir, 'secret'), 'secret-of-the-client');
  sidecar = await openSidecar(loadSettings(yaml, 'test'), world, pino({}, { write: (line) => logged.push(line) }));
  const subject_token = await service.subjectToken();
  const opened = await callOperator(sidecar.addresses.socket, 'POST', '/v1/tasks', { subject_token });
  handle = String(opened.body['handle']);
  expect((await call('/warm')).status).toBe(200);
});
afterAll(async () => {
  await sidecar.close();
  await tool.close();
  await service.close();
  removeFolder(dir);
});

const call = (path: string) => callThrough(sidecar.addresses.outbound, `http://crm.test${path}`, { handle });

async function faults(): Promise<number> {
  const metrics = await (await fetch(`http://${sidecar.addresses.metrics}/metrics`)).text();
  return Number(/^waybill_faults_total (\d+)$/m.exec(metrics)?.[1]);
}

/** Calls while one part of the world fails. */
async function callWhile(failing: keyof World, work: () => ReturnType<typeof call>) {
  tool.seen.length = 0;
  const before = await faults();
  world.failing = failing;
  const answer = await work();
  world.failing = undefined;
  return { answer, counted: (await faults()) - before };
}

test.each(['now', 'random'] as const)(
  'W1: a fault of %s is a 500, counted, recorded, logged without its words, and nothing leaves',
  async (name) => {
    logged.length = 0;
    const { answer, counted } = await callWhile(name, () => call(`/${name}`));
    expect([answer.status, answer.code]).toEqual([500, 'internal_fault']);
    expect(answer.body).not.toContain('secret words');
    expect(JSON.parse(answer.body)).toMatchObject({ retryable: false, title: 'The sidecar failed' });
    expect(counted).toBe(1);
    expect(tool.seen).toEqual([]);
    expect(logged.join('')).toContain('"fault"');
    expect(logged.join('')).not.toContain('secret words');
    const recorded = () => eventsOf(readRecord(join(dir, 'events.jsonl')), `/${name}`);
    await expect
      .poll(() => recorded().map(({ event, code }) => `${event} ${String(code)}`))
      .toEqual(['call.refused internal_fault']);
    // It was this one call: the next passes.
    expect((await call('/again')).status).toBe(200);
  },
);

test('W1: where not even the refusal can be written, the connection is cut, and nothing leaves', async () => {
  world.once = false;
  const { counted } = await callWhile('now', () =>
    call('/cut').catch(() => ({ status: 0, headers: {}, lines: [], body: '', code: undefined })),
  );
  world.once = true;
  expect(counted).toBeGreaterThanOrEqual(1);
  expect(tool.seen).toEqual([]);
  expect((await call('/again')).status).toBe(200);
});

test('W1: a dial that throws, and names that cannot be asked for, refuse the call', async () => {
  const page = () => callThrough(sidecar.addresses.outbound, `http://localhost:${tool.port}/`);
  const unresolved = await callWhile('resolve', page);
  expect(unresolved.answer.code).toBe('upstream_unreachable');
  expect(tool.seen).toEqual([]);
  const undialled = await callWhile('dial', page);
  expect(undialled.answer.status).toBeGreaterThanOrEqual(500);
  expect(undialled.answer.body).not.toContain('secret words');
  expect(tool.seen).toEqual([]);
  expect((await page()).status).toBe(200);
});

test('W1, W7: what was admitted is good for one send; spent twice, or copied, it is a fault', async () => {
  const written: unknown[] = [];
  const bound = {} as Bound;
  const trail = { admitted: async (line: unknown) => void written.push(line) } as unknown as Trail;
  const admitted = await admit(bound, trail);
  expect(written).toEqual([bound]);
  expect(admitted.spend()).toBe(bound);
  expect(() => admitted.spend()).toThrow('forwarded twice');
  // A copy that the compiler would take has nothing to spend.
  expect(() => structuredClone(admitted).spend()).toThrow(TypeError);
  expect(() => Object.assign({}, admitted).spend()).toThrow(TypeError);
});
