import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { decodeJwt } from 'jose';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { type FakeTokenService, openFakeTokenService } from '../fakes/token-service.ts';
import { openStrictService, type StrictService } from '../fakes/strict-service.ts';
import { type ChoosingTools, openChoosingTools, wellKnown } from '../stage/choosing-tool.ts';
import { callThrough, type RawAnswer } from '../stage/raw-call.ts';
import { type InProcess, openInProcess } from '../stage/sidecar-in-process.ts';
import { callOperator, removeFolder } from '../stage/sidecar-process.ts';
import { tries } from '../stage/tries.ts';

let tool: ChoosingTools;
let corp: FakeTokenService;
let partner: FakeTokenService;
/** Issues transaction tokens. */
let statements: StrictService;
let inside: InProcess;
let dir: string;
/** How far the monotonic clock of the sidecar is put forward. */
let aheadMs: number;

beforeEach(async () => {
  aheadMs = 0;
  dir = mkdtempSync(join(tmpdir(), 'waybill-choice-'));
  const secret = 'a-secret-of-the-client';
  writeFileSync(join(dir, 'secret'), secret);
  [tool, corp, partner] = await Promise.all([openChoosingTools(), openFakeTokenService(), openFakeTokenService()]);
  statements = await openStrictService({ clients: { bot: secret } });
  const token = { from: ['corp', 'partner'], resource: 'http://crm.test' };
  const service = ({ issuer }: { readonly issuer: string }): object => ({
    issuer,
    client_auth: 'client_secret_basic',
    client_id: 'bot',
    client_secret_file: join(dir, 'secret'),
  });
  inside = await openInProcess(
    {
      trust: {
        issuers: [corp, statements].map(({ issuer }) => ({ issuer, audience: 'invoice-bot' })),
      },
      token_services: { corp: service(corp), partner: service(partner), statements: service(statements) },
      tools: {
        crm: { match: { host: 'crm.test' }, dial: `127.0.0.1:${tool.port}`, token },
        inner: {
          match: { host: 'crm.test', paths: ['/inner'] },
          dial: `127.0.0.1:${tool.port}`,
          token,
          trust_domain: 'inside',
          txn_token: { from: 'statements', audience: 'example.org', scope: 'crm.read' },
        },
      },
    },
    { monotonic: () => performance.now() + aheadMs },
  );
});
afterEach(async () => {
  await inside.close();
  await Promise.all([tool.close(), corp.close(), partner.close(), statements.close()]);
  removeFolder(dir);
});

/** What the tool says of itself from now on. */
function say(...servers: string[]): void {
  const document = { resource: 'http://crm.test', authorization_servers: servers };
  tool.places.set(`crm.test ${wellKnown}`, { document });
}

async function openTask(issuer: { subjectToken(): Promise<string> } = corp): Promise<string> {
  const request = { subject_token: await issuer.subjectToken() };
  return String((await callOperator(inside.sidecar.addresses.socket, 'POST', '/v1/tasks', request)).body['handle']);
}

function call(handle: string, path = '/x'): Promise<RawAnswer> {
  return callThrough(inside.outbound, `http://crm.test${path}`, { handle });
}

const questions = (): number => tool.asked('crm.test').filter((line) => line === `GET ${wellKnown}`).length;

/** Issuer of the token that the tool got last. */
const issuer = (): unknown => decodeJwt(String(tool.seen.at(-1)?.headers.authorization).split(' ')[1] ?? '').iss;

test('by many calls at once, it is asked once', async () => {
  say(partner.issuer);
  const handle = await openTask();
  const answers = await Promise.all(Array.from({ length: 50 }, () => call(handle)));
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
  expect([questions(), partner.counts.token, corp.counts.token]).toEqual([1, 1, 0]);
});

/** A question in the background was answered. */
const answered = (count: number): Promise<void> =>
  eventually('the tool was asked again', async () => questions() === count && (await sleep(50, true)));

test('when it moves to another service of ours, later tasks follow', async () => {
  say(partner.issuer);
  expect((await call(await openTask())).status).toBe(200);
  say(corp.issuer);
  expect((await call(await openTask())).status).toBe(200);
  expect([issuer(), questions()]).toEqual([partner.issuer, 1]);
  aheadMs += 600_001;
  expect((await call(await openTask())).status).toBe(200);
  expect(issuer()).toBe(partner.issuer);
  await answered(2);
  expect((await call(await openTask())).status).toBe(200);
  expect([issuer(), questions()]).toEqual([corp.issuer, 2]);
});

test('when it does not answer, its last word counts for an hour', tries, async () => {
  say(partner.issuer);
  const handle = await openTask();
  expect((await call(handle)).status).toBe(200);
  tool.places.set(`crm.test ${wellKnown}`, 'slow');
  aheadMs += 600_001;
  const startedAt = performance.now();
  expect((await call(handle)).status).toBe(200);
  expect((await call(handle)).status).toBe(200);
  expect(performance.now() - startedAt).toBeLessThan(1900);
  await answered(2);
  await sleep(2100);
  aheadMs += 3_000_000;
  // By now its hour is over.
  expect((await call(handle)).code).toBe('upstream_unreachable');
  say(partner.issuer);
  expect((await call(handle)).code).toBe('upstream_unreachable');
  aheadMs += 1001;
  expect((await call(handle)).status).toBe(200);
});

test('when it names a stranger instead, its last word no longer counts; mended, it is heard after ten seconds', async () => {
  say(partner.issuer);
  const handle = await openTask();
  expect((await call(handle)).status).toBe(200);
  say('https://stranger.example');
  aheadMs += 600_001;
  expect((await call(handle)).status).toBe(200);
  await answered(2);
  expect((await call(handle)).code).toBe('exchange_refused');
  say(partner.issuer);
  expect((await call(handle)).code).toBe('exchange_refused');
  aheadMs += 10_001;
  expect((await call(handle)).status).toBe(200);
});

test('W1: when it takes its word back while a call waits for its transaction token, that is refused and no fault', async () => {
  say(partner.issuer);
  expect((await call(await openTask(statements), '/inner')).status).toBe(200);
  say('https://stranger.example');
  aheadMs += 600_001;
  const handle = await openTask(statements);
  const { promise, resolve } = Promise.withResolvers<void>();
  statements.until = promise;
  const waiting = call(handle, '/inner');
  await answered(2);
  resolve();
  expect((await waiting).code).toBe('exchange_refused');
});
