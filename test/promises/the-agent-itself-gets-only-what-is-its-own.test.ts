import { decodeJwt } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { callThrough, exchangeRaw, requestBytes } from '../stage/raw-call.ts';
import { callInTunnel, expectRefused } from '../stage/refused-calls.ts';
import { callOperator } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let tool: EchoTool;
let stage: Stage;

beforeAll(async () => {
  tool = await openEchoTool();
  const { port } = tool;
  const token = (name: string, more: object = {}) => ({
    from: 'corp',
    audience: [name],
    scopes: [`${name}.read`],
    ...more,
  });
  stage = await openStage({
    tools: {
      crm: { port },
      catalogue: { port, more: { on_behalf_of: 'agent' } },
      news: { port, more: { on_behalf_of: 'any', token: token('news', { proof: 'dpop' }) } },
      outside: { port, more: { on_behalf_of: 'agent' } },
      misled: { port, more: { on_behalf_of: 'any', token: token('misled', { grant: 'token_exchange' }) } },
      open: { port, token: false },
    },
    sections: { tasks: { standing: { purpose: 'keep fresh', tools: ['catalogue', 'news', 'misled', 'open'] } } },
  });
});
afterAll(async () => {
  await stage?.close();
  await tool.close();
});

const outbound = (): string => stage.sidecar.addresses.outbound;
const use = (name: string, handle?: string) =>
  callThrough(outbound(), `http://${name}.test/${name}`, handle === undefined ? {} : { handle });
const lastForm = () => stage.service.requests.at(-1)?.form;
const lastToken = () => decodeJwt((tool.seen.at(-1)?.headers.authorization ?? '').replace(/^\w+ /, ''));

describe('W9: a call without a task is the agent’s own only where the configuration says so', () => {
  test.for(['catalogue', 'news'])('%s: a token of its own, by client credentials, naming nobody', async (name) => {
    const before = stage.service.counts.token;
    for (let count = 0; count < 3; count += 1) expect((await use(name)).status).toBe(200);
    expect(stage.service.counts.token - before).toBe(1);
    expect(lastForm()?.get('grant_type')).toBe('client_credentials');
    expect(['subject_token', 'actor_token', 'subject_token_type'].filter((member) => lastForm()?.has(member))).toEqual(
      [],
    );
    expect([lastForm()?.get('scope'), lastToken().aud, lastToken()['act']]).toEqual([`${name}.read`, name, undefined]);
    const admitted = readRecord(stage.sidecar.eventsFile).findLast(
      ({ event, tool: at }) => event === 'call.admitted' && at === name,
    );
    expect(admitted).toMatchObject({ task_by: 'standing', subject: { iss: '', sub: 'invoice-bot' } });
  });

  test('through every door', async () => {
    const tunnel = await callInTunnel(outbound(), 'catalogue.test:80', {}, { headers: { Host: 'catalogue.test' } });
    const git = await exchangeRaw(
      outbound(),
      requestBytes('CONNECT', 'catalogue.test:443', { Host: 'catalogue.test:443', 'User-Agent': 'git/2' }),
    );
    const mount = await exchangeRaw(outbound(), requestBytes('GET', '/tools/catalogue/x', { Host: outbound() }));
    expect([tunnel.status, git.status, mount.status]).toEqual([200, 200, 200]);
  });

  test('not at a tool that works for users, nor at one that the standing task does not list', async () => {
    const before = [tool.seen.length, stage.service.counts.token];
    const key = await callThrough(outbound(), 'http://crm.test/x', { headers: { Authorization: 'Bearer sk-own' } });
    await expectRefused(
      stage.sidecar.eventsFile,
      [
        { what: 'crm', answer: await use('crm') },
        { what: 'with a key of its own', answer: key },
      ],
      403,
      'subject_required',
    );
    await expectRefused(
      stage.sidecar.eventsFile,
      [{ what: 'outside', answer: await use('outside') }],
      403,
      'tool_not_in_task',
    );
    expect([tool.seen.length, stage.service.counts.token]).toEqual(before);
  });

  test('not where the token can only be had for a user: that is a refusal, and no fault', async () => {
    const before = stage.service.counts.token;
    const answer = await use('misled');
    await expectRefused(stage.sidecar.eventsFile, [{ what: 'misled', answer }], 403, 'subject_required');
    expect([stage.service.counts.token, await stage.sidecar.metric('waybill_faults_total')]).toEqual([before, 0]);
  });

  test('a user’s call at a tool for anybody is the user’s', async () => {
    const task = await stage.task('bob');
    expect((await use('news', task.handle)).status).toBe(200);
    expect([lastForm()?.get('grant_type'), lastToken().sub]).toEqual([
      'urn:ietf:params:oauth:grant-type:token-exchange',
      'bob',
    ]);
    expect((await use('misled', task.handle)).status).toBe(200);
  });

  test('a wrong handle does not fall back to it', async () => {
    const task = await stage.task();
    await callOperator(stage.sidecar.addresses.socket, 'POST', `/v1/tasks/${task.txn}/complete`);
    const before = tool.seen.length;
    await expectRefused(
      stage.sidecar.eventsFile,
      [{ what: 'ended', answer: await use('catalogue', task.handle) }],
      403,
      'handle_ended',
    );
    await expectRefused(
      stage.sidecar.eventsFile,
      [{ what: 'unknown', answer: await use('catalogue', `${task.handle.slice(0, -4)}AAAA`) }],
      403,
      'handle_unknown',
    );
    expect(tool.seen.length).toBe(before);
  });

  test('the standing task is listed as such, without a handle', async () => {
    const { body } = await callOperator(stage.sidecar.addresses.socket, 'GET', '/v1/tasks?state=open');
    const standing = (body['tasks'] as Record<string, unknown>[]).filter((task) => task['standing'] === true);
    expect(standing).toMatchObject([
      { purpose: 'keep fresh', tools: ['catalogue', 'news', 'misled', 'open'], state: 'open' },
    ]);
    expect(JSON.stringify(standing)).not.toMatch(/handle|wbh_|proxy/);
  });
});

test('W9: once it is revoked, such calls name no task, as after a restart, and none is a use of an old handle', async () => {
  const git = { Host: 'catalogue.test:443', 'User-Agent': 'git/2' };
  const told = async () => {
    const tunnel = await exchangeRaw(outbound(), requestBytes('CONNECT', 'catalogue.test:443', git));
    return [await use('catalogue'), await use('crm'), tunnel].map(({ status, code }) => [status, code]);
  };
  const replays = async () => (await stage.sidecar.metrics()).match(/^waybill_replays_blocked_total.*$/gm);
  const before = await replays();
  const { socket } = stage.sidecar.addresses;
  expect((await callOperator(socket, 'POST', '/v1/revoke', { all: true, reason: 'test' })).status).toBe(200);
  const revoked = await told();
  expect(revoked).toEqual(Array.from({ length: 3 }, () => [407, 'task_unknown']));
  expect(await replays()).toEqual(before);
  await stage.sidecar.stop();
  await stage.restart();
  expect(await told()).toEqual(revoked);
});
