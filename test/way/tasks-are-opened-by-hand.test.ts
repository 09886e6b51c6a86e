import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openDemoTool, type DemoTool } from '../../proxy/embedded/demo-tool.ts';
import { openTokenService, type TokenService } from '../../proxy/embedded/token-service.ts';
import { Running, runWaybill, type Finished } from '../stage/command-line.ts';
import { removeFolder, startSidecar, type SidecarProcess } from '../stage/sidecar-process.ts';

const origin = 'http://crm.example.org';
const operatorToken = 'operator-token-of-this-test';

let service: TokenService;
let tool: DemoTool;
let sidecar: SidecarProcess;
let tokenFile: string;

beforeAll(async () => {
  service = await openTokenService({
    clients: [{ clientId: 'bot', auth: 'client_secret_basic', clientSecret: 's', scopes: ['crm.read'] }],
    resources: [{ resource: origin, scopes: ['crm.read'] }],
    accessTokenTtlSeconds: 300,
  });
  tool = await openDemoTool({ issuer: service.issuer, audience: origin, origin });
  const folder = mkdtempSync(join(tmpdir(), 'waybill-tasks-'));
  writeFileSync(join(folder, 'secret'), 's');
  writeFileSync(join(folder, 'operator'), operatorToken);
  const toolPort = new URL(tool.url).port;
  sidecar = await startSidecar(
    `identity: none
agent: { name: bot, purpose: reconcile }
trust: { issuers: [ { issuer: "${service.issuer}", audience: bot } ] }
token_services:
  corp: { issuer: "${service.issuer}", client_auth: client_secret_basic, client_id: bot, client_secret_file: ${folder}/secret }
tools:
  crm:
    match: { host: crm.example.org, scheme: http }
    token: { from: corp, resource: "${origin}", scopes: [crm.read], proof: dpop }
    dial: 127.0.0.1:${toolPort}
rules: [ { name: all, effect: allow, when: 'true' } ]
operator: { socket: ${folder}/operator.sock, listen: "127.0.0.1:0", tokens: { operator: ${folder}/operator } }
`,
    { dir: folder },
  );
  tokenFile = join(folder, 'subject-token');
  const order = { sub: 'alice', audience: 'bot', scopes: ['crm.read'], ttlSeconds: 300 };
  writeFileSync(tokenFile, `${await service.mintSubjectToken(order)}\n`);
});
afterAll(async () => {
  await sidecar?.stop();
  await Promise.all([service?.close(), tool?.close()]);
  if (sidecar !== undefined) removeFolder(sidecar.dir);
});

/** The tests run where no `waybill.yaml` lies, so that the place of the sidecar is what they say. */
const run = (...args: string[]): Promise<Finished> =>
  runWaybill(['tasks', ...args], { cwd: join(sidecar.dir, 'trust') });
const json = ({ stdout }: Finished): Record<string, unknown> => JSON.parse(stdout) as Record<string, unknown>;
const here = (): string[] => ['--config', join(sidecar.dir, 'waybill.yaml')];

test('the printed line makes a shell work in the task; the explanation is not part of it', async () => {
  const opened = await run('open', '--subject-token-file', tokenFile, '--deadline', '5m', ...here());
  expect(opened.code).toBe(0);
  expect(opened.stdout).toMatch(/^export HTTP_PROXY=http:\/\/task:wbh_[^\n]+\n$/);
  expect(opened.stderr).toContain('for alice');
  expect(opened.stderr).not.toContain('wbh_');
  const agent = "fetch('http://crm.example.org/api/x').then((r) => r.json()).then((b) => console.log(b.sub, b.scope))";
  const script = `${opened.stdout}exec "${process.execPath}" -e "${agent}"`;
  const called = await new Running('sh', ['-c', script], { env: { PATH: process.env['PATH'] } }).finished;
  expect(called).toMatchObject({ code: 0, stdout: 'alice crm.read\n' });
  expect(tool.requests.at(-1)).toMatchObject({ path: '/api/x', scheme: 'DPoP', status: 200 });
});

test('without purposes in the configuration any purpose will do, as the help says', async () => {
  const opened = json(
    await run('open', '--subject-token-file', tokenFile, '--purpose', 'anything', '--json', ...here()),
  );
  expect(opened).toMatchObject({ purpose: 'anything', tools: ['crm'] });
  await run('complete', String(opened['txn']), ...here());
  const { stdout: help } = await run('--help');
  expect(help.replaceAll(/\s+/g, ' ')).toContain(
    'one of the purposes of the configuration, or any where it lists none; default: that of the agent',
  );
});

test('a task is listed without its handle, completed, and then gone from the list', async () => {
  const opened = json(await run('open', '--subject-token-file', tokenFile, '--json', ...here()));
  const txn = String(opened['txn']);
  const listed = await run('list', ...here());
  expect(listed.stdout).toMatch(new RegExp(`^${txn} +open +alice +reconcile +crm +\\S+$`, 'm'));
  expect(listed.stdout).not.toContain('wbh_');
  expect(await run('complete', txn, '--reason', 'done', ...here())).toMatchObject({ code: 0 });
  expect((await run('list', ...here())).stdout).not.toContain(txn);
  const all = json(await run('list', '--all', '--json', ...here()))['tasks'] as Record<string, unknown>[];
  expect(all.find((task) => task['txn'] === txn)).toMatchObject({ state: 'completed', cause: 'done' });
});

test('the name of a subject does not speak to the terminal', async () => {
  const file = join(sidecar.dir, 'strange-token');
  const order = { sub: 'mallory\u001b[2J\nx', audience: 'bot', scopes: ['crm.read'], ttlSeconds: 300 };
  writeFileSync(file, await service.mintSubjectToken(order));
  const opened = await run('open', '--subject-token-file', file, ...here());
  expect(opened.stderr).toContain('for mallory?[2J?x (');
  expect((await run('list', ...here())).stdout).toContain(' mallory?[2J?x ');
});

test('one handle for each tool is printed as one variable each', async () => {
  const { stdout } = await run('open', '--subject-token-file', tokenFile, '--handles', 'per_tool', ...here());
  expect(stdout).toMatch(/ WAYBILL_HANDLE_CRM=wbh_[A-Za-z0-9_-]+/);
});

test('two tools of which a shell would have one name have two variables, and it is told which is whose', async () => {
  const socket = join(sidecar.dir, 'names.sock');
  const server = createServer((request, response) => {
    request.resume();
    response.writeHead(201);
    const handles = { 'crm-a': 'wbh_1', crm_a: 'wbh_2', 'crm-a-2': 'wbh_3', mail: 'wbh_4' };
    response.end(JSON.stringify({ txn: 't', proxy: 'http://task:h@127.0.0.1:1', handles, subject: {}, tools: [] }));
  }).listen(socket);
  await once(server, 'listening');
  const { stdout, stderr } = await run('open', '--subject-token-file', tokenFile, '--socket', socket);
  server.close();
  expect(
    stdout
      .trim()
      .split(' ')
      .filter((word) => word.startsWith('WAYBILL_')),
  ).toEqual([
    'WAYBILL_HANDLE_CRM_A=wbh_1',
    'WAYBILL_HANDLE_CRM_A_3=wbh_2',
    'WAYBILL_HANDLE_CRM_A_2=wbh_3',
    'WAYBILL_HANDLE_MAIL=wbh_4',
  ]);
  expect(stderr).toContain('# WAYBILL_HANDLE_CRM_A_3 is that of crm_a.');
});

test('the API answers over its port too, with the token of a role', async () => {
  const url = `http://${sidecar.addresses.operator}`;
  const way = ['--url', url, '--token-file', join(sidecar.dir, 'operator')];
  const opened = json(await run('open', '--subject-token-file', tokenFile, '--json', ...way));
  const failed = await run('fail', String(opened['txn']), '--json', ...way);
  expect(json(failed)).toMatchObject({ txn: opened['txn'], state: 'failed' });
  writeFileSync(join(sidecar.dir, 'wrong'), 'another-token-of-this-test');
  const refused = await run('list', '--url', url, '--token-file', join(sidecar.dir, 'wrong'));
  expect(refused).toMatchObject({ code: 1, stdout: '' });
  expect(refused.stderr).toContain('401 token_missing');
  // A token that opens tasks does not leave the machine unencrypted.
  const remote = await run('list', '--url', 'http://192.0.2.1:15000', '--token-file', join(sidecar.dir, 'operator'));
  expect(remote).toMatchObject({ code: 64 });
});

test('what the API refuses is exit code 1 with its reason, as JSON the whole problem', async () => {
  writeFileSync(join(sidecar.dir, 'forged'), 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.AAAA');
  const forged = ['open', '--subject-token-file', join(sidecar.dir, 'forged'), ...here()];
  const shown = await run(...forged);
  expect(shown).toMatchObject({ code: 1, stdout: '' });
  expect(shown.stderr).toMatch(/^waybill tasks: The subject token is not accepted.*\(403 subject_token_invalid\)\n$/);
  const told = await run(...forged, '--json');
  expect(told.code).toBe(1);
  expect(json(told)).toMatchObject({ status: 403, code: 'subject_token_invalid' });
});

test('of a task that is not there it is said so, and where the others are listed', async () => {
  for (const args of [
    ['tasks', 'complete', 'nobody'],
    ['tasks', 'fail', 'nobody', '--reason', 'x'],
    ['revoke', '--task', 'nobody', '--reason', 'x'],
  ]) {
    const { code, stdout, stderr } = await runWaybill([...args, ...here()]);
    expect({ code, stdout }, args.join(' ')).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain('There is no task of this TXN');
    expect(stderr).toContain('"waybill tasks list --all"');
  }
});
