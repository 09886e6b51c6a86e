import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createHttps } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { reconfigure } from '../stage/config-edit.ts';
import { answerEcho, openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { callThrough, dial, exchangeOn } from '../stage/raw-call.ts';
import { callOperator, type StagedTask } from '../stage/sidecar-process.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';
import { openWayIn } from '../stage/way-in-stage.ts';

let tool: EchoTool;
let stage: Stage;

beforeEach(async () => {
  tool = await openEchoTool({
    answer: (call, response) => {
      if (call.path === '/login') response.setHeader('set-cookie', 'session=0123456789abcdef; Path=/');
      if (call.path === '/stream') response.write('begun');
      else answerEcho(call, response);
    },
  });
  stage = await openStage({
    tools: { crm: { port: tool.port }, files: { port: tool.port } },
    sections: { purposes: { reconcile: { tools: ['crm', 'files'] } } },
  });
});
afterEach(async () => {
  await stage?.close();
  await tool?.close();
});

const use = ({ handle }: StagedTask, name = 'crm', path = '/x') =>
  callThrough(stage.sidecar.addresses.outbound, `http://${name}.test${path}`, { handle });
const narrowCrm = ({ tools = {} }: Record<string, Record<string, unknown>>): void => {
  tools['crm'] = { ...(tools['crm'] as object), token: { from: 'corp', audience: 'crm', scopes: ['crm.less'] } };
};

test('a session that was opened with a token of before ends with that token', async () => {
  const task = await stage.task();
  await use(task, 'crm', '/login');
  await use(task, 'files', '/login');
  await reconfigure(stage, narrowCrm);
  await use(task);
  expect(tool.seen.at(-1)?.headers.cookie).toBeUndefined();
  await use(task, 'files');
  expect(tool.seen.at(-1)?.headers.cookie).toBe('session=0123456789abcdef');
});

test('so does one that was opened with a token of a service that changed', async () => {
  const task = await stage.task();
  await use(task, 'crm', '/login');
  await reconfigure(stage, ({ token_services = {} }) => {
    Object.assign(token_services['corp'] as object, { max_lifetime: '40m' });
  });
  await use(task);
  expect(tool.seen.at(-1)?.headers.cookie).toBeUndefined();
});

test('a call under way to a tool that is gone can still be cut by its name', async () => {
  const task = await stage.task();
  const stream = use(task, 'crm', '/stream').catch(() => 'cut');
  await eventually('it is under way', () => tool.seen.length === 1);
  await reconfigure(stage, ({ tools = {}, purposes = {} }) => {
    delete tools['crm'];
    purposes['reconcile'] = { tools: ['files'] };
  });
  const revoke = (name: string) =>
    callOperator(stage.sidecar.addresses.socket, 'POST', '/v1/revoke', { tool: name, reason: 'stolen' });
  expect((await revoke('crm')).status).toBe(200);
  expect(await Promise.race([stream.then(() => 'cut'), sleep(2000, 'goes on')])).toBe('cut');
  expect((await revoke('never')).body['code']).toBe('tool_unknown');
});

test('an exchange under way for a tool that changed is to be tried again, and its task goes on', async () => {
  const task = await stage.task();
  stage.service.delayMs = 1000;
  const asked = use(task);
  await eventually('it is under way', () => stage.service.counts.token === 1);
  await reconfigure(stage, narrowCrm);
  expect((await asked).code).toBe('token_service_unavailable');
  await eventually('its token went back', () => stage.service.revoked.includes(stage.service.issued[0] ?? ''));
  stage.service.delayMs = 0;
  expect((await use(task)).status).toBe(200);
});

test('a task for a user of an issuer that is trusted no more is over', async () => {
  const task = await stage.task();
  await reconfigure(stage, ({ trust = {} }) => {
    trust['issuers'] = [{ issuer: 'https://sso.example.org', audience: 'agent' }];
  });
  expect((await use(task)).code).toBe('handle_ended');
});

test('a task whose token was being verified meanwhile gets what is allowed now', async () => {
  const { issuer } = stage.service;
  let asked = 0;
  const keys = createServer(async (_request, response) => {
    asked += 1;
    await sleep(1200);
    response.end(await (await fetch(`${issuer}/jwks`)).text());
  });
  await once(keys.listen(0, '127.0.0.1'), 'listening');
  try {
    const slow = {
      issuer,
      audience: 'invoice-bot',
      jwks_uri: `http://127.0.0.1:${(keys.address() as AddressInfo).port}/`,
    };
    await reconfigure(stage, ({ trust = {} }) => (trust['issuers'] = [slow]));
    const opening = stage.task();
    await eventually('its keys are asked for', () => asked > 0);
    await reconfigure(stage, ({ purposes = {} }) => (purposes['reconcile'] = { tools: ['crm'] }));
    expect((await use(await opening, 'files')).code).toBe('tool_not_in_task');
  } finally {
    keys.close();
  }
});

test('a hang-up while the sidecar stops changes nothing', async () => {
  stage.service.delayMs = 1500;
  const asked = use(await stage.task());
  await eventually('it is under way', () => stage.service.counts.token === 1);
  process.kill(stage.sidecar.pid, 'SIGTERM');
  await sleep(100);
  process.kill(stage.sidecar.pid, 'SIGHUP');
  await asked.catch(() => undefined);
  await stage.sidecar.stop();
  expect(stage.sidecar.events().filter(({ event }) => event === 'config.reloaded')).toEqual([]);
});

test('the keys of an issuer that is silent for a while outlive a change that has nothing to do with it', async () => {
  const wayIn = await openWayIn();
  try {
    const caller = await wayIn.caller();
    expect((await caller.send({})).status).toBe(200);
    await wayIn.service.close();
    await reconfigure(wayIn, ({ inbound = {} }) => {
      inbound['present'] = 'headers';
    });
    expect((await caller.send({})).status).toBe(200);
  } finally {
    await wayIn.service.up();
    await wayIn.close();
  }
});

test('keys that were fetched under another authority are believed no more', async () => {
  const wayIn = await openWayIn();
  const [former, present] = [await makeToolCertificate('localhost'), await makeToolCertificate('localhost')];
  const { issuer } = wayIn.service;
  const keys = createHttps(former, async (_request, response) => {
    response.end(await (await fetch(`${issuer}/jwks`)).text());
  });
  await once(keys.listen(0, '127.0.0.1'), 'listening');
  const trustBy = async (name: string, ca: string): Promise<void> => {
    const file = join(wayIn.dir, name);
    writeFileSync(file, ca);
    const jwksUri = `https://localhost:${(keys.address() as AddressInfo).port}/`;
    await reconfigure(wayIn, ({ trust = {} }) => {
      trust['issuers'] = [{ issuer, audience: 'agent', jwks_uri: jwksUri, tls: { ca: file } }];
    });
  };
  try {
    await trustBy('former.pem', former.ca);
    const caller = await wayIn.caller();
    expect((await caller.send({})).status).toBe(200);
    await trustBy('present.pem', present.ca);
    expect((await (await wayIn.caller()).send({})).code).toBe('token_service_unavailable');
    await trustBy('former.pem', former.ca);
    expect((await (await wayIn.caller()).send({})).status).toBe(200);
  } finally {
    await wayIn.close();
    keys.close();
  }
});

test('a request that came before its issuer was taken out opens no task after it', async () => {
  const wayIn = await openWayIn();
  try {
    const caller = await wayIn.caller();
    const bytes = caller.bytes({ method: 'POST', body: 'whole' });
    const socket = dial(caller.to.address());
    socket.write(bytes.subarray(0, -2));
    await sleep(300);
    await reconfigure(wayIn, ({ trust = {}, inbound = {} }) => {
      trust['issuers'] = [{ issuer: 'https://sso.example.org', audience: 'agent' }];
      inbound['accept'] = [{ issuer: 'https://sso.example.org', proof: 'dpop' }];
    });
    expect((await exchangeOn(socket, bytes.subarray(-2))).code).toBe('token_invalid');
    expect(wayIn.program.seen).toEqual([]);
    expect(wayIn.sidecar.events().filter(({ event }) => event === 'task.opened')).toEqual([]);
  } finally {
    await wayIn.close();
  }
});

test('a request that came before the change opens its task by what is allowed after it', async () => {
  const wayIn = await openWayIn({
    tools: { crm: { port: tool.port }, files: { port: tool.port } },
    inbound: { present: 'handle' },
    sections: { purposes: { reconcile: { tools: ['crm', 'files'] } } },
  });
  try {
    const caller = await wayIn.caller();
    const bytes = caller.bytes({ method: 'POST', body: 'whole' });
    const socket = dial(caller.to.address());
    socket.write(bytes.subarray(0, -2));
    await sleep(300);
    await reconfigure(wayIn, ({ purposes = {} }) => {
      purposes['reconcile'] = { tools: ['crm'] };
    });
    await exchangeOn(socket, bytes.subarray(-2));
    const opened = wayIn.sidecar.events().filter(({ event }) => event === 'task.opened');
    expect(opened.at(-1)).toMatchObject({ tools: ['crm'] });
  } finally {
    await wayIn.close();
  }
});
