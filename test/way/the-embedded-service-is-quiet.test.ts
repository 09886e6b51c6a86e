import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';

const serviceModule = new URL('../../proxy/embedded/token-service.ts', import.meta.url).href;

/** Everything that makes oidc-provider announce a default: keys, storage, policies, pages, CORS, bad bodies, faults. */
const program = `
import { once } from 'node:events';
import { connect } from 'node:net';
const { openTokenService } = await import(${JSON.stringify(serviceModule)});
const service = await openTokenService({
  clients: [{ clientId: 'desk', auth: 'client_secret_basic', clientSecret: 's', scopes: ['crm.read'] }],
  resources: [{ resource: 'https://crm.example.org', audience: 'crm', scopes: ['crm.read'] }],
  accessTokenTtlSeconds: 60,
});
const authorization = 'Basic ' + btoa('desk:s');
const post = (path, form, headers = {}) =>
  fetch(service.issuer + path, { method: 'POST', headers: { authorization, ...headers }, body: new URLSearchParams(form) });
const subject_token = await service.mintSubjectToken({ sub: 'a', audience: 'desk', scopes: ['crm.read'], ttlSeconds: 60 });
const exchange = {
  grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
  subject_token, subject_token_type: 'urn:ietf:params:oauth:token-type:access_token', audience: 'crm',
};
const statuses = [];
const note = async (answer) => statuses.push((await answer).status);
await note(fetch(service.issuer + '/.well-known/openid-configuration'));
await note(fetch(service.issuer + '/jwks'));
await note(fetch(service.issuer + '/auth?client_id=desk', { headers: { accept: 'text/html' } }));
await note(fetch(service.issuer + '/nowhere'));
await note(post('/token', exchange));
await note(post('/token', exchange, { origin: 'http://evil.example', accept: 'text/html' }));
await note(post('/token', { grant_type: 'client_credentials', audience: 'crm' }));
await note(post('/token/introspection', { token: subject_token }));
await note(post('/token/revocation', { token: subject_token }));
await note(fetch(service.issuer + '/token', { method: 'POST', headers: { authorization }, body: 'text' }));
await note(post('/token', { ...exchange, padding: 'x'.repeat(70_000) }));
const broken = connect(new URL(service.issuer).port, '127.0.0.1');
broken.write('POST /token HTTP/1.1\\r\\nHost: ' + new URL(service.issuer).host + '\\r\\nContent-Length: 9\\r\\n');
broken.write('Content-Type: application/x-www-form-urlencoded\\r\\n\\r\\nhalf');
setTimeout(() => broken.destroy(), 50);
await once(broken, 'close');
await new Promise((resolve) => setTimeout(resolve, 50));
await service.close();
process.exitCode = service.faults.length;
process.on('exit', () => process.send(statuses));
`;

test('the service prints nothing, whatever it is asked', async () => {
  const args = ['--input-type=module', '--eval', program];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  let printed = '';
  let statuses: unknown;
  child.stdout?.on('data', (chunk) => (printed += String(chunk)));
  child.stderr?.on('data', (chunk) => (printed += String(chunk)));
  child.on('message', (message) => (statuses = message));
  const [code] = await once(child, 'close');
  expect(printed).toBe('');
  expect(statuses).toEqual([200, 200, 400, 404, 200, 400, 200, 200, 400, 400, 413]);
  expect(code).toBe(0);
});
