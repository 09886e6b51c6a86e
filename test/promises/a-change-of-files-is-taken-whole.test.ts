import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { configDigest } from '../../config/load.ts';
import { eventually } from '../fakes/eventually.ts';
import { heard, reconfigure } from '../stage/config-edit.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { basic, callThrough, dial, exchangeOn, requestBytes } from '../stage/raw-call.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let tool: EchoTool;
let stage: Stage;

afterEach(async () => {
  await stage?.close();
  await tool?.close();
});

test('a file that is still being written is waited for: a part of its rules is never in force', async () => {
  tool = await openEchoTool();
  stage = await openStage({ tools: { crm: { port: tool.port } } });
  const file = join(stage.dir, 'waybill.yaml');
  const before = readFileSync(file, 'utf8');
  writeFileSync(file, `${before}\n# the rules follow\n`);
  for (let line = 0; line < 12; line += 1) {
    await sleep(50);
    appendFileSync(file, `# ${line}\n`);
  }
  const said = () => stage.sidecar.events().filter(({ event }) => String(event).startsWith('config.'));
  await eventually('it is taken', () => said().length > 0);
  await sleep(500);
  expect(said().map(({ config }) => config)).toEqual([configDigest(readFileSync(file, 'utf8'))]);
});

test('at SIGHUP a CA file that was replaced holds, on connections that are open too', async () => {
  const [mine, other] = [await makeToolCertificate('crm.test'), await makeToolCertificate('crm.test')];
  tool = await openEchoTool({ tls: mine });
  stage = await openStage({
    tools: { crm: { port: tool.port, ca: mine.ca, more: { match: { host: 'crm.test', port: 443 } } } },
  });
  const task = await stage.task();
  const use = () => callThrough(stage.sidecar.addresses.outbound, 'https://crm.test/x', { handle: task.handle });
  expect((await use()).status).toBe(200);
  writeFileSync(join(stage.dir, 'crm-ca.pem'), other.ca);
  await heard(stage, () => process.kill(stage.sidecar.pid, 'SIGHUP'));
  expect((await use()).code).toBe('upstream_tls');
});

test('a call that came before its tool was gone leaves no token behind', async () => {
  tool = await openEchoTool();
  stage = await openStage({ tools: { crm: { port: tool.port }, files: { port: tool.port } } });
  const task = await stage.task();
  const bytes = requestBytes(
    'POST',
    'http://crm.test/x',
    { Host: 'crm.test', 'Content-Length': '5', 'Proxy-Authorization': basic(task.handle) },
    'whole',
  );
  const socket = dial(stage.sidecar.addresses.outbound);
  socket.write(bytes.subarray(0, -2));
  await sleep(300);
  await reconfigure(stage, ({ tools = {} }) => {
    delete tools['crm'];
  });
  expect((await exchangeOn(socket, bytes.subarray(-2))).code).toBe('token_service_unavailable');
  expect([stage.service.counts.token, tool.seen.length]).toEqual([0, 0]);
});
