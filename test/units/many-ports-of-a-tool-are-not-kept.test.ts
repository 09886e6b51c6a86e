import { mkdtempSync, writeFileSync } from 'node:fs';
import { Agent, createServer, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { openFakeTokenService } from '../fakes/token-service.ts';
import { listenOnFreePort } from '../stage/free-port.ts';
import { basic } from '../stage/raw-call.ts';
import { openInProcess } from '../stage/sidecar-in-process.ts';
import { callOperator, removeFolder } from '../stage/sidecar-process.ts';

function heapMb(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let at = 0; at < 3; at += 1) collect();
  return process.memoryUsage().heapUsed / 1e6;
}

test('orders of a task for every port that its agent thinks of are not kept', { timeout: 60_000 }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'waybill-ports-'));
  writeFileSync(join(dir, 'secret'), 'x'.repeat(40), { mode: 0o600 });
  const users = await openFakeTokenService({});
  let issuer = '';
  const refusing = createServer((asked, response) => {
    asked.resume();
    response.setHeader('content-type', 'application/json');
    if (asked.method !== 'GET') response.writeHead(400).end('{"error":"invalid_target"}');
    else response.end(JSON.stringify({ issuer, token_endpoint: `${issuer}/token`, jwks_uri: `${issuer}/jwks` }));
  });
  issuer = `http://127.0.0.1:${await listenOnFreePort(refusing)}`;
  const client = { client_auth: 'client_secret_basic', client_id: 'bot', client_secret_file: join(dir, 'secret') };
  const token = { from: 'corp', audience: ['crm'], scopes: ['crm.read'] };
  const inside = await openInProcess({
    trust: { issuers: [{ issuer: users.issuer, audience: 'invoice-bot' }] },
    token_services: { corp: { issuer, ...client } },
    tools: { crm: { match: { host: 'crm.test' }, dial: '127.0.0.1:9', token } },
  });
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });
  try {
    const subject_token = await users.subjectToken({ sub: 'alice' });
    const opened = await callOperator(inside.sidecar.addresses.socket, 'POST', '/v1/tasks', { subject_token });
    const credential = basic(String(opened.body['handle']));
    const [host, port] = inside.outbound.split(':');
    const call = (name: string): Promise<void> =>
      new Promise((done, fail) => {
        const headers = { Host: name, 'Proxy-Authorization': credential };
        const sent = request({ host, port, agent, path: `http://${name}/`, headers }, (answer) => {
          expect(answer.statusCode).toBe(403);
          answer.resume().once('end', done);
        });
        sent.once('error', fail).end();
      });
    let calls = 0;
    const callMany = async (): Promise<void> => {
      const next = async (): Promise<void> => {
        for (let at = 0; at < 375; at += 1) await call(`crm.test:${1000 + ((calls += 1) % 5000)}`);
      };
      await Promise.all(Array.from({ length: 16 }, next));
    };
    await callMany();
    const before = heapMb();
    for (let round = 0; round < 3; round += 1) await callMany();
    // 18,000 orders take some 14 MB.
    expect(heapMb() - before).toBeLessThan(5);
  } finally {
    agent.destroy();
    await inside.close();
    await users.close();
    refusing.close();
    removeFolder(dir);
  }
});
