import { mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { editConfig, heard, reconfigure } from '../stage/config-edit.ts';
import { answerEcho, openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { callThrough } from '../stage/raw-call.ts';
import { callOperator, type StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';
import { openWayIn } from '../stage/way-in-stage.ts';

let tool: EchoTool;
let stage: Stage;

beforeEach(async () => {
  tool = await openEchoTool({
    answer: (call, response) => {
      if (!call.path.startsWith('/slow')) {
        answerEcho(call, response);
        return;
      }
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: begun\n\n');
      setTimeout(() => response.end('data: whole\n\n'), 1500);
    },
  });
  stage = await openStage({
    tools: { crm: { port: tool.port }, files: { port: tool.port } },
    sections: { purposes: { reconcile: { tools: ['crm', 'files'] }, look: { tools: ['crm'] } } },
  });
});
afterEach(async () => {
  await stage?.close();
  await tool?.close();
});

const use = ({ handle }: StagedTask, name = 'crm') =>
  callThrough(stage.sidecar.addresses.outbound, `http://${name}.test/x`, { handle });
const denyFiles = { name: 'no-files', effect: 'deny', when: 'call.tool == "files"' };

describe('a good one', () => {
  test('tasks, handles and tokens stay; rules, tools and purposes are the new ones', async () => {
    const task = await stage.task();
    expect([(await use(task)).status, (await use(task, 'files')).status]).toEqual([200, 200]);
    const { token: asked } = stage.service.counts;
    const said = await reconfigure(stage, ({ tools = {}, rules = {}, purposes = {} }) => {
      (rules as unknown as object[]).push(denyFiles);
      tools['mail'] = { ...(tools['crm'] as object), match: { host: 'mail.test' } };
      purposes['write'] = { tools: ['mail'] };
    });
    expect(said).toMatchObject({ event: 'config.reloaded', config: expect.stringMatching(/^[0-9a-f]{64}$/) });
    const self = await callOperator(stage.sidecar.addresses.socket, 'GET', '/v1/sidecar');
    expect(self.body['config']).toBe(said['config']);
    expect([(await use(task)).status, stage.service.counts.token]).toEqual([200, asked]);
    expect((await use(task, 'files')).code).toBe('denied_by_rule');
    expect((await use(task, 'mail')).code).toBe('tool_not_in_task');
    expect((await use(await stage.task('bob', { purpose: 'write' }), 'mail')).status).toBe(200);
    expect(await stage.sidecar.metric('waybill_config_reloads_total{outcome="reloaded"}')).toBe(1);
    expect(await stage.sidecar.metrics()).toMatch(/waybill_requests_total\{way="out",tool="mail",outcome="cut"\} 0/);
  });

  test('a tool that is gone is unlisted, and its tokens go back', async () => {
    const task = await stage.task();
    await use(task, 'files');
    const [token] = stage.service.issued.slice(-1);
    await reconfigure(stage, ({ tools = {}, purposes = {} }) => {
      delete tools['files'];
      purposes['reconcile'] = { tools: ['crm'] };
    });
    expect((await use(task, 'files')).code).toBe('destination_unlisted');
    await eventually('its token went back', () => stage.service.revoked.includes(token ?? ''));
    expect((await use(task)).status).toBe(200);
  });

  test('what a service issued under other settings goes back, and is asked for anew', async () => {
    const task = await stage.task();
    await use(task);
    const [token] = stage.service.issued.slice(-1);
    await reconfigure(stage, ({ token_services = {} }) => {
      Object.assign(token_services['corp'] as object, { max_lifetime: '40m' });
    });
    const { token: asked } = stage.service.counts;
    expect([(await use(task)).status, stage.service.counts.token]).toEqual([200, asked + 1]);
    await eventually('the old one went back', () => stage.service.revoked.includes(token ?? ''));
  });

  test('a call under way ends as it began', async () => {
    const task = await stage.task();
    const answer = callThrough(stage.sidecar.addresses.outbound, 'http://crm.test/slow', { handle: task.handle });
    await eventually('it is under way', () => tool.seen.length === 1);
    await reconfigure(stage, ({ rules = {} }) => {
      (rules as unknown as object[]).push({ name: 'none', effect: 'deny', when: 'true' });
    });
    expect((await use(task)).code).toBe('denied_by_rule');
    expect(JSON.stringify(await answer)).toContain('data: whole');
  });

  test('a task whose purpose allows less now is over', async () => {
    const [task, other] = [await stage.task(), await stage.task('bob', { purpose: 'look' })];
    await reconfigure(stage, ({ purposes = {} }) => {
      purposes['reconcile'] = { tools: ['files'] };
    });
    expect([(await use(task)).code, (await use(other)).status]).toEqual(['handle_ended', 200]);
    const [ended] = stage.sidecar.events().filter(({ event }) => event === 'task.ended');
    expect(ended).toMatchObject({ txn: task.txn, state: 'revoked', cause: 'config_changed', by: 'config' });
  });

  test('at SIGHUP the file is read again, changed or not; the log says which, and only a change is counted', async () => {
    const { pid } = stage.sidecar;
    const reloads = () => stage.sidecar.metric('waybill_config_reloads_total{outcome="reloaded"}');
    const said = await heard(stage, () => process.kill(pid, 'SIGHUP'));
    expect(said['event']).toBe('config.reloaded');
    await eventually('it is told', () => stage.sidecar.output().includes('the configuration is unchanged'));
    expect([stage.sidecar.output().includes('the configuration was reloaded'), await reloads()]).toEqual([false, 0]);
    await reconfigure(stage, ({ rules = {} }) => (rules as unknown as object[]).push(denyFiles));
    await heard(stage, () => process.kill(pid, 'SIGHUP'));
    expect(stage.sidecar.output().match(/the configuration (?:is unchanged|was reloaded)/g)).toEqual([
      'the configuration is unchanged',
      'the configuration was reloaded',
      'the configuration is unchanged',
    ]);
    expect(await reloads()).toBe(1);
    expect((await use(await stage.task())).status).toBe(200);
  });

  test('a file that is replaced by a link, as Kubernetes does it, is a changed one', async () => {
    const file = join(stage.dir, 'waybill.yaml');
    mkdirSync(join(stage.dir, 'next'));
    renameSync(file, join(stage.dir, 'next', 'waybill.yaml'));
    symlinkSync(join('next', 'waybill.yaml'), `${file}.link`);
    renameSync(`${file}.link`, file);
    const task = await stage.task();
    await reconfigure(stage, ({ rules = {} }) => (rules as unknown as object[]).push(denyFiles));
    expect((await use(task, 'files')).code).toBe('denied_by_rule');
  });
});

describe('one that is not good', () => {
  test('for as long as it is not in force, that is told, and no longer', async () => {
    const taken = async () => stage.sidecar.metric('waybill_config_last_reload_successful');
    expect(await taken()).toBe(1);
    const before = readFileSync(join(stage.dir, 'waybill.yaml'), 'utf8');
    const spoil = ({ rules = {} }) =>
      void (rules as unknown as object[]).push({ name: 'x', effect: 'deny', when: '(' });
    await reconfigure(stage, spoil);
    expect(await taken()).toBe(0);
    await heard(stage, () => writeFileSync(join(stage.dir, 'waybill.yaml'), before));
    expect(await taken()).toBe(1);
    await reconfigure(stage, spoil);
    await reconfigure(stage, ({ rules = {} }) => {
      (rules as unknown as object[]).pop();
      (rules as unknown as object[]).push(denyFiles);
    });
    expect(await taken()).toBe(1);
  });

  test.for([
    ['a rule does not compile', 'rules[1].when', { name: 'x', effect: 'deny', when: 'call.nothing ==' }],
    ['a key is unknown', 'rules[1].what', { name: 'x', effect: 'deny', when: 'true', what: 1 }],
  ] as const)('%s: nothing changes, and it is said where', async ([, setting, rule]) => {
    const task = await stage.task();
    const said = await reconfigure(stage, ({ rules = {}, tools = {} }) => {
      (rules as unknown as object[]).push(rule);
      delete tools['files'];
    });
    expect(said).toMatchObject({ event: 'config.rejected', settings: expect.arrayContaining([setting]) });
    expect([(await use(task)).status, (await use(task, 'files')).status]).toEqual([200, 200]);
    expect(await stage.sidecar.metric('waybill_config_reloads_total{outcome="rejected"}')).toBe(1);
    expect(stage.sidecar.output()).toMatch(/waybill\.yaml:\d+:\d+: rules\[1\]/);
  });

  test('what is settled at the start is refused by name, and with it all the rest', async () => {
    const task = await stage.task();
    const said = await reconfigure(stage, (sections) => {
      sections['dns'] = { servers: ['127.0.0.1:5353'] };
      (sections['rules'] as unknown as object[]).push(denyFiles);
    });
    expect(said).toMatchObject({ event: 'config.rejected', settings: ['dns'] });
    expect((await use(task, 'files')).status).toBe(200);
    expect(stage.sidecar.output()).toContain('takes effect at a start only');
  });

  test('a file that is empty or gone for a moment changes nothing', async () => {
    const task = await stage.task();
    writeFileSync(join(stage.dir, 'waybill.yaml'), '');
    await sleep(500);
    renameSync(join(stage.dir, 'waybill.yaml'), join(stage.dir, 'away.yaml'));
    await sleep(1500);
    expect((await use(task)).status).toBe(200);
    expect(stage.sidecar.events().filter(({ event }) => String(event).startsWith('config.'))).toEqual([]);
  });
});

test('the way in takes it too: who is accepted, and what the program sees', async () => {
  const wayIn = await openWayIn({ inbound: { present: 'handle' } });
  try {
    const caller = await wayIn.caller();
    expect((await caller.send({})).status).toBe(200);
    expect(wayIn.program.seen.at(-1)?.headers.authorization).toMatch(/^Bearer wbh_/);
    await reconfigure(wayIn, ({ inbound = {} }) => {
      inbound['present'] = 'headers';
    });
    expect((await caller.send({})).status).toBe(200);
    expect(wayIn.program.seen.at(-1)?.headers.authorization).toBeUndefined();
    await reconfigure(wayIn, ({ inbound = {}, trust = {} }) => {
      const other = 'https://sso.example.org';
      trust['issuers'] = [{ issuer: other, audience: 'agent' }];
      inbound['accept'] = [{ issuer: other, proof: 'dpop' }];
    });
    const { status, code } = await caller.send({});
    expect([status, code]).toEqual([401, 'token_invalid']);
  } finally {
    await wayIn.close();
  }
});

test('the edit of a stage changes what it says it does', () => {
  editConfig(stage, ({ rules = {} }) => expect(rules).toMatchObject([{ name: 'all' }]));
});
