import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, type TestContext } from 'vitest';
import { loadSettings } from '../../config/load.ts';
import { listUnsafe } from '../../config/unsafe.ts';
import { findWarnings } from '../../config/warnings.ts';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { openDemoTool, type DemoTool } from '../../proxy/embedded/demo-tool.ts';
import { openDemoUser } from '../../proxy/embedded/demo-user.ts';
import { openTokenService, type TokenService } from '../../proxy/embedded/token-service.ts';
import { openWorkloadApiServer, type WorkloadApiServer } from '../../proxy/embedded/workload-api.ts';
import { eventually } from '../fakes/eventually.ts';
import { readSource } from '../repo/sources.ts';
import { freePort } from '../stage/free-port.ts';
import { findObstacle, OwnClone, type Terminal } from '../stage/own-clone.ts';

const readme = readSource('README.md');
const blocks = (language: string): string[] =>
  [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map(([, text = '']) => text);
const [config = '', inbound = '', ...otherConfigs] = blocks('yaml');
// The first two are tried by CI, the last, of the image, by its parts in test/real/.
const [, , validate = '', run = '', open = '', call = '', wrong = '', startAgent = '', image = '', ...otherCommands] =
  blocks('sh');
const [explanation = ''] = blocks('text');

/** What the README tells to replace, and nothing else. */
const named = { issuer: 'http://127.0.0.1:9400', toolPort: '9500' };
/** What is different on every machine. */
const places = { workloadApi: '/run/spire/agent.sock', agentPort: '8080' };
/** The sidecar's own resource, as callers' tokens name it. */
const ownResource = 'https://invoice-bot.example.org';

/** The config with the tables of the second block in place of its own, as the README says. */
const withWayIn = (): string => {
  const tables = [...inbound.matchAll(/^(\w+):/gm)].map(([, name = '']) => name);
  const kept = tables.reduce((text, name) => text.replace(new RegExp(`^${name}:.*\\n(?:[ ].*\\n)*`, 'm'), ''), config);
  return kept + inbound;
};
const ownFiles = ['waybill.yaml', 'wrong.yaml', 'client-secret', 'user-token'];
const secret = 'the-secret-of-the-client-at-its-service';

let obstacle: string | undefined;
let clone: OwnClone;
let service: TokenService;
let tool: DemoTool;
let sidecar: Terminal | undefined;
let workload: WorkloadApiServer | undefined;
let agentPort: number;
const identity = mkdtempSync(join(tmpdir(), 'wb-id-'));
let replaced: (text: string) => string;
let subjectToken: string;

beforeAll(async () => {
  obstacle = await findObstacle([15_001, 15_006, 15_020, 15_021]);
  if (obstacle !== undefined) return;
  const authority = await openAuthority('example.org');
  const spiffeId = 'spiffe://example.org/invoice-bot';
  const socketPath = join(identity, 'agent.sock');
  workload = await openWorkloadApiServer({ socketPath, authority, spiffeId, x509TtlSeconds: 3600, jwtTtlSeconds: 300 });
  // As SPIRE's own: who runs the sidecar is somebody else.
  chmodSync(identity, 0o755);
  chmodSync(socketPath, 0o777);
  const scopes = ['crm.read'];
  service = await openTokenService({
    clients: [{ clientId: 'invoice-bot', auth: 'client_secret_basic', clientSecret: secret, spiffeId, scopes }],
    resources: [
      { resource: 'https://crm.example.org', audience: 'crm', scopes },
      { resource: ownResource, client: 'invoice-bot', scopes },
    ],
    spiffe: { trustDomain: 'example.org', jwks: () => [...authority.bundleJwks()] },
    accessTokenTtlSeconds: 300,
  });
  agentPort = await freePort();
  tool = await openDemoTool({ issuer: service.issuer, audience: 'crm' });
  const toolPort = new URL(tool.url).port;
  replaced = (text) =>
    text
      .replaceAll(named.issuer, service.issuer)
      .replaceAll(named.toolPort, toolPort)
      .replaceAll(places.workloadApi, socketPath)
      .replaceAll(places.agentPort, String(agentPort));
  subjectToken = await service.mintSubjectToken({
    sub: 'alice',
    audience: 'invoice-bot',
    scopes: ['crm.read'],
    ttlSeconds: 600,
  });
  clone = new OwnClone();
  clone.write('waybill.yaml', replaced(config));
  clone.write('client-secret', `${secret}\n`);
  clone.write('user-token', `${subjectToken}\n`);
}, 60_000);

afterAll(async () => {
  await sidecar?.interrupt();
  clone?.remove();
  workload?.close();
  await Promise.all([tool?.close(), service?.close()]);
  rmSync(identity, { recursive: true, force: true });
});

function needShell(context: TestContext): void {
  if (obstacle !== undefined) context.skip(obstacle);
}

describe('the README works as written', { timeout: 120_000 }, () => {
  test('its blocks are the ones that are tried here, and its config is short', () => {
    expect(otherConfigs).toEqual([]);
    expect(otherCommands).toEqual([]);
    expect(image).toMatch(
      /^docker build -t waybill \.\nmkdir waybill && .*\ndocker run --init --read-only --cap-drop ALL /,
    );
    expect(config.trim().split('\n').length).toBeLessThanOrEqual(16);
    expect(readme).toContain(`Replace the issuer \`${named.issuer}\` by yours, twice`);
    expect(readme).toContain(`the tool \`127.0.0.1\`, port \`${named.toolPort}\`, by yours`);
    expect(config.split(named.issuer)).toHaveLength(3);
    // Git must not take them along.
    expect(readSource('.gitignore').split('\n')).toEqual(
      expect.arrayContaining([...ownFiles, 'waybill/'].map((name) => `/${name}`)),
    );
  });

  test('the config with the way in added is good, lowers no safety, and lets nobody in but by proof', () => {
    const { settings } = loadSettings(withWayIn(), 'waybill.yaml');
    expect(findWarnings(settings)).toEqual([]);
    expect(listUnsafe(settings)).toEqual([]);
    expect(settings.inbound?.accept).toMatchObject([{ issuer: named.issuer, proof: 'dpop' }]);
    expect(settings.inbound?.present).toBe('inert-jwt');
    for (const told of ['`127.0.0.1:8080`', 'port 15006', '`https://invoice-bot.example.org`'])
      expect(readme).toContain(told);
  });

  test('the config is good', async (context) => {
    needShell(context);
    const ended = await clone.run(validate);
    expect(ended).toMatchObject({ code: 0, stderr: '' });
    expect(ended.stdout).toContain('waybill.yaml is good');
    expect(ended.stdout).not.toMatch(/warning|unsafe/);
  });

  test('a wrong one shows all that is wrong, as the README prints it', async (context) => {
    needShell(context);
    const ended = await clone.run(wrong);
    expect(ended).toEqual({ code: 64, stdout: '', stderr: explanation.trim() });
  });

  test('the sidecar starts, without root and with its files in the folders of the user', async (context) => {
    needShell(context);
    sidecar = await clone.start(run, '"msg":"ready"');
    // A clone that only root can read is tried as root, and then the folders are those of the system.
    if (!clone.isRoot) expect(existsSync(clone.record)).toBe(true);
  });

  test('a task is opened by one line that leads the shell through the sidecar, and the call arrives with a token', async (context) => {
    needShell(context);
    const line = await clone.run(/\$\((.*)\)/.exec(open)?.[1] ?? '');
    expect(line.code).toBe(0);
    expect(line.stdout).toMatch(/^export HTTP_PROXY=http:\/\/task:wbh_\S+@127\.0\.0\.1:15001 [^\n]*\n$/);
    const ended = await clone.run(`${open}\n${replaced(call)}\necho; env`);
    expect(ended.code, ended.stderr).toBe(0);
    const [answer = '', ...environment] = ended.stdout.split('\n');
    expect(JSON.parse(answer)).toMatchObject({ sub: 'alice', aud: 'crm', scope: 'crm.read' });
    expect(tool.requests).toMatchObject([{ method: 'GET', path: '/api/customers', scheme: 'Bearer', status: 200 }]);
    expect(environment.join('\n')).toContain('task:wbh_');
    // What the shell holds is a handle: neither the user's token nor the tool's.
    expect(environment.join('\n')).not.toMatch(/eyJ/);
    expect(service.counters.exchanges).toBe(1);
  });

  test('the commands of the text list the task, end it, take its token back and verify the record', async (context) => {
    needShell(context);
    for (const command of ['npx waybill tasks list', 'npx waybill tasks complete TXN', 'npx waybill events verify']) {
      expect(readme).toContain(`\`${command}\``);
    }
    const listed = await clone.run('npx waybill tasks list');
    const transactions = [...listed.stdout.matchAll(/^(\S+) +open +alice /gm)].map(([, txn = '']) => txn);
    expect(transactions).toHaveLength(2);
    for (const txn of transactions)
      expect(await clone.run(`npx waybill tasks complete ${txn}`)).toMatchObject({ code: 0 });
    await eventually('the token is back at its service', () => service.counters.revocations === 1);
    expect(await clone.run('npx waybill events verify')).toMatchObject({ code: 0 });
    if (!clone.isRoot) expect(readFileSync(clone.record, 'utf8')).toContain('"event":"call.admitted"');
  });

  test('Ctrl-C ends it', async (context) => {
    needShell(context);
    await sidecar?.interrupt();
    expect(await findObstacle([15_001])).toBeUndefined();
  });

  test('in front of an agent: a caller comes in, the agent calls on with what it was given, and that is good nowhere else', async (context) => {
    needShell(context);
    clone.write('waybill.yaml', replaced(withWayIn()));
    const ended = await clone.run(validate);
    expect(ended).toMatchObject({ code: 0, stderr: '' });
    expect(ended.stdout).not.toMatch(/warning|unsafe/);
    // No proxy of its own, and no word of tokens: it hands the header on.
    const toolUrl = `${tool.url}/api/customers`;
    clone.write(
      'agent.mjs',
      `import { createServer } from 'node:http';
createServer(async ({ headers: { authorization } }, response) => {
  const asked = await fetch('${toolUrl}', { headers: { authorization } });
  response.end(JSON.stringify({ held: authorization, answer: await asked.json() }));
}).listen(${agentPort}, '127.0.0.1', () => console.log('it listens'));`,
    );
    sidecar = await clone.start(run, '"msg":"ready"');
    // The machine's own Node.js may be too old for the variable.
    const agent = await clone.start(startAgent.replace(' node ', ` ${process.execPath} `), 'it listens');
    const before = tool.requests.length;
    const alice = await openDemoUser();
    const { jkt } = alice;
    const token = await service.mintSubjectToken({
      sub: 'alice',
      audience: ownResource,
      scopes: ['crm.read'],
      ttlSeconds: 600,
      jkt,
    });
    const { status, text } = await alice.get('http://127.0.0.1:15006/', token);
    const { held, answer } = JSON.parse(text) as { held: string; answer: object };
    expect(status).toBe(200);
    expect(answer).toMatchObject({ sub: 'alice', aud: 'crm', act: { sub: 'spiffe://example.org/invoice-bot' } });
    expect(tool.requests.slice(before)).toMatchObject([{ path: '/api/customers', scheme: 'Bearer', status: 200 }]);
    // What the tool gets from an agent without the proxy.
    expect((await fetch(toolUrl, { headers: { authorization: held } })).status).toBe(401);
    await agent.interrupt();
  });
});
