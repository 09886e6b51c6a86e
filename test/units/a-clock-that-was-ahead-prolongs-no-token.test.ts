import { mkdtempSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openFakeTokenService, type FakeTokenService } from '../fakes/token-service.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { listenOnFreePort } from '../stage/free-port.ts';
import { callThrough } from '../stage/raw-call.ts';
import { openInProcess, type InProcess } from '../stage/sidecar-in-process.ts';
import { callOperator, removeFolder } from '../stage/sidecar-process.ts';

const halfHourMs = 1800_000;
let aheadMs = 0;
const dir = mkdtempSync(join(tmpdir(), 'waybill-ahead-'));
const grants: string[] = [];
const revoked: string[] = [];
/** Its tokens say nothing of their time. */
const service = createServer((asked, response) => {
  void (async () => {
    const issuer = `http://${asked.headers.host}`;
    const form = new URLSearchParams(await text(asked));
    if (asked.url === '/revoke') revoked.push(form.get('token') ?? '');
    if (asked.url === '/token') grants.push(form.get('grant_type') ?? '');
    const token = {
      access_token: `opaque-token-number-${String(grants.length).padStart(4, '0')}`,
      token_type: 'Bearer',
      expires_in: 300,
      issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    };
    const metadata = { issuer, token_endpoint: `${issuer}/token`, revocation_endpoint: `${issuer}/revoke` };
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(asked.method === 'GET' ? metadata : token));
  })();
});
let users: FakeTokenService;
let tool: EchoTool;
let inside: InProcess;
let handle: string;

beforeAll(async () => {
  writeFileSync(join(dir, 'secret'), 'x'.repeat(40), { mode: 0o600 });
  users = await openFakeTokenService({});
  tool = await openEchoTool({});
  const issuer = `http://127.0.0.1:${await listenOnFreePort(service)}`;
  const client = { client_auth: 'client_secret_basic', client_id: 'bot', client_secret_file: join(dir, 'secret') };
  const token = { from: 'corp', audience: ['crm'], scopes: ['crm.read'], use_for: '1m' };
  inside = await openInProcess(
    {
      trust: { issuers: [{ issuer: users.issuer, audience: 'invoice-bot' }] },
      tasks: { deadline: '2h' },
      token_services: { corp: { issuer, ...client, verify: 'response-only', actor: 'client_credentials' } },
      tools: { crm: { match: { host: 'crm.test' }, dial: `127.0.0.1:${tool.port}`, token } },
    },
    { now: () => Date.now() + aheadMs },
  );
  const subject_token = await users.subjectToken({ sub: 'alice', exp: Math.floor(Date.now() / 1000) + 5 * 3600 });
  const opened = await callOperator(inside.sidecar.addresses.socket, 'POST', '/v1/tasks', {
    subject_token,
    deadline: '2h',
  });
  expect(opened.status).toBe(201);
  handle = String(opened.body['handle']);
});
afterAll(async () => {
  await inside.close();
  await users.close();
  await tool.close();
  service.close();
  removeFolder(dir);
});

const tokenOfCall = async (): Promise<string> => {
  const { status, code } = await callThrough(inside.outbound, 'http://crm.test/x', { handle });
  expect([status, code]).toEqual([200, undefined]);
  return tool.seen.at(-1)?.headers.authorization?.slice('Bearer '.length) ?? '';
};

test('a token that was fetched while the clock was ahead is used no longer than others, and goes back', async () => {
  aheadMs = halfHourMs;
  const first = await tokenOfCall();
  expect(await tokenOfCall()).toBe(first);
  aheadMs = 0;
  const second = await tokenOfCall();
  expect(second).not.toBe(first);
  await eventually('it went back', () => revoked.includes(first));
  // Nor is the token that we ask with.
  expect(grants.filter((grant) => grant === 'client_credentials').length).toBe(2);
  // A clock that is set back by a little, as clocks are, changes nothing.
  aheadMs = -5000;
  expect(await tokenOfCall()).toBe(second);
});
