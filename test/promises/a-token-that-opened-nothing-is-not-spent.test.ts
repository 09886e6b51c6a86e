import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { type KeyIssuer, openKeyIssuer } from '../fakes/key-issuer.ts';
import { askOwnDoor } from '../stage/own-door.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let issuer: KeyIssuer;
let stage: Stage;

beforeAll(async () => {
  issuer = await openKeyIssuer('invoice-bot');
  stage = await openStage({
    tools: { crm: { port: 1 } },
    sections: (service) => ({
      agent: { name: 'invoice-bot', purpose: 'reconcile' },
      purposes: { reconcile: { tools: ['crm'] } },
      trust: { issuers: [service, issuer].map((one) => ({ issuer: one.issuer, audience: 'invoice-bot' })) },
    }),
  });
});
afterAll(async () => {
  await stage?.close();
  await issuer?.close();
});

test('W10: where the parent ended while the token of a sub-task was verified, that token opens another task', async () => {
  const ask = (body: object, headers?: Record<string, string>, path = '/v1/tasks') =>
    askOwnDoor(stage.sidecar.addresses.outbound, path, body, headers);
  const parent = JSON.parse((await ask({ subject_token: await stage.service.subjectToken() })).body) as {
    readonly txn: string;
    readonly handle: string;
  };
  const held = { Authorization: `Bearer ${parent.handle}` };
  const { promise, resolve } = Promise.withResolvers<void>();
  issuer.until = promise;
  const subject_token = issuer.token(issuer.claims());
  const child = ask({ subject_token, parent: parent.txn }, held);
  await eventually('the keys are asked for', () => issuer.fetches.keys === 1);
  expect((await ask({}, held, '/v1/tasks/self/complete')).status).toBe(200);
  resolve();
  expect((await child).code).toBe('parent_not_open');
  expect((await ask({ subject_token })).status).toBe(201);
  expect((await ask({ subject_token })).code).toBe('token_spent');
});
