import { randomBytes } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openDnsServer, type DnsServer } from '../fakes/dns-server.ts';
import { freePort } from '../stage/free-port.ts';
import { callThrough, exchangeRaw } from '../stage/raw-call.ts';
import { callInTunnel, eventsOfCalls, expectRefused, type TriedCall } from '../stage/refused-calls.ts';
import { removeFolder, type StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

/** The ports of our own listeners, chosen before so that a configuration can name them as destinations. */
const ports = { outbound: 0, operator: 0, signals: 0, metrics: 0, health: 0 };
const folder = mkdtempSync(join(tmpdir(), 'waybill-roles-'));
const operatorToken = randomBytes(24).toString('base64url');
/** The machine's address in its network, where it has one: a listener at any address is there too. */
const outer = Object.values(networkInterfaces())
  .flatMap((list) => list ?? [])
  .find((one) => one.family === 'IPv4' && !one.internal)?.address;
/** The same place as it may be written in IPv6: mapped, by SIIT, by NAT64. */
const outerInSix =
  outer === undefined ? [] : [`[::ffff:${outer}]`, `[::ffff:0:${outer}]`, `[64:ff9b::${outer}]`, '[::]', '0.0.0.0'];
let dns: DnsServer;
let stage: Stage;
let task: StagedTask;

beforeAll(async () => {
  dns = await openDnsServer();
  for (const name of Object.keys(ports) as (keyof typeof ports)[]) ports[name] = await freePort();
  const tokenFile = join(folder, 'operator');
  writeFileSync(tokenFile, operatorToken);
  const dialled = Object.entries(ports).flatMap(([name, port]) => [
    [`to_${name}`, { port, token: false }],
    // The same place in other spellings, and by a credentialed tool.
    [`to_${name}_mapped`, { port, token: false, more: { dial: `[::ffff:127.0.0.1]:${port}` } }],
    [`to_${name}_token`, { port }],
    [`to_${name}_other`, { port, token: false, more: { dial: `127.0.0.2:${port}` } }],
  ]);
  const spelled = outerInSix.map((address, at) => [
    `to_outer_${at}`,
    { port: 1, token: false, more: { dial: `${address}:${ports.metrics}` } },
  ]);
  stage = await openStage({
    tools: {
      ...Object.fromEntries([...dialled, ...spelled]),
      // The widest that a configuration can say.
      anything: {
        port: 1,
        token: false,
        more: { match: { host: '*' }, dial: undefined, addresses: ['public', 'private', 'loopback'] },
      },
    },
    sections: {
      dns: { servers: [dns.address] },
      listen: {
        outbound: `127.0.0.1:${ports.outbound}`,
        metrics: `0.0.0.0:${ports.metrics}`,
        health: `127.0.0.1:${ports.health}`,
      },
      operator: {
        socket: join(folder, 'operator.sock'),
        listen: `127.0.0.1:${ports.operator}`,
        tokens: { operator: tokenFile },
      },
      signals: {
        listen: `127.0.0.1:${ports.signals}`,
        transmitters: [{ issuer: 'https://sso.example.org', audience: 'signals' }],
      },
    },
  });
  task = await stage.task();
});
afterAll(async () => {
  await stage?.close();
  await dns?.close();
  removeFolder(folder);
});

async function tryUrl(url: string, headers: Record<string, string> = {}): Promise<TriedCall> {
  // A real operator's token: only the proxy itself can be what refuses.
  const withToken = { Authorization: `Bearer ${operatorToken}`, ...headers };
  return {
    what: url,
    answer: await callThrough(stage.sidecar.addresses.outbound, url, { headers: withToken, handle: task.handle }),
  };
}

async function tryTunnel(target: string): Promise<TriedCall> {
  const headers = { Host: target, Authorization: `Bearer ${operatorToken}` };
  const answer = await callInTunnel(
    stage.sidecar.addresses.outbound,
    target,
    { handle: task.handle },
    { url: '/v1/tasks', headers },
  );
  return { what: `CONNECT ${target}`, answer };
}

describe('W10: the agent cannot reach the operator’s side through the proxy', () => {
  test('the listeners are there for those who may', async () => {
    const headers = { authorization: `Bearer ${operatorToken}` };
    expect((await fetch(`http://127.0.0.1:${ports.operator}/v1/tasks`, { headers })).status).toBe(200);
    expect((await fetch(`http://127.0.0.1:${ports.metrics}/metrics`)).status).toBe(200);
    expect((await fetch(`http://127.0.0.1:${ports.health}/livez`)).status).toBe(200);
  });

  test('not where a tool’s `dial` leads there, in any spelling of this machine', async () => {
    const urls = Object.keys(ports).flatMap((name) =>
      ['', '_mapped', '_token', '_other'].map((kind) => `http://to_${name}${kind}.test/v1/tasks`),
    );
    const tried = await Promise.all([
      ...urls.map((url) => tryUrl(url)),
      ...urls.map((url) => tryTunnel(`${new URL(url).host}:80`)),
    ]);
    await expectRefused(stage.sidecar.eventsFile, tried, 403, 'address_forbidden');
    expect(stage.service.counts.token).toBe(0);
  });

  test('not by address or by a name of this machine, where any destination is listed', async () => {
    Object.assign(dns.names, {
      localhost: ['127.0.0.1'],
      'rebound.test': ['127.0.0.1'],
      'six.test': ['::ffff:127.0.0.1'],
      'two.test': ['127.8.8.8'],
    });
    const hosts = [
      '127.0.0.1',
      '127.0.0.2',
      '[::1]',
      '[::ffff:127.0.0.1]',
      '[::ffff:7f00:1]',
      'localhost',
      'LOCALHOST.',
      'rebound.test',
      'six.test',
      'two.test',
    ];
    const others = Object.values(ports).filter((port) => port !== ports.outbound);
    const tried = await Promise.all(
      hosts.flatMap((host) =>
        others.flatMap((port) => [tryUrl(`http://${host}:${port}/metrics`), tryTunnel(`${host}:${port}`)]),
      ),
    );
    await expectRefused(stage.sidecar.eventsFile, tried, 403, 'address_forbidden');
  });

  test('not by the machine’s address in its network, where a listener takes any', async () => {
    if (outer === undefined) return;
    dns.names['outer.test'] = [outer];
    dns.names['outer-six.test'] = [`::ffff:${outer}`];
    const tried = await Promise.all([
      ...['outer.test', 'outer-six.test', outer, ...outerInSix].flatMap((host) => [
        tryUrl(`http://${host}:${ports.metrics}/metrics`),
        tryTunnel(`${host}:${ports.metrics}`),
      ]),
      // The class of an address is not asked for where the configuration names it.
      ...outerInSix.map((_address, at) => tryUrl(`http://to_outer_${at}.test/metrics`)),
    ]);
    await expectRefused(stage.sidecar.eventsFile, tried, 403, 'address_forbidden');
  });

  test('not the way out through itself: by its own name there are only mounts, by other names nothing', async () => {
    const { outbound } = stage.sidecar.addresses;
    const own = [
      await tryUrl(`http://${outbound}/v1/tasks`),
      await tryUrl(`http://localhost:${ports.outbound}/metrics`),
    ];
    const events = await eventsOfCalls(stage.sidecar.eventsFile, own);
    expect(events.map((list) => list.map(({ code }) => code))).toEqual([
      ['destination_unlisted'],
      ['destination_unlisted'],
    ]);
    const tried = [
      await tryUrl(`http://127.0.0.2:${ports.outbound}/tools/to_health/livez`),
      await tryTunnel(`127.0.0.1:${ports.outbound}`),
      await tryTunnel(`localhost:${ports.outbound}`),
    ];
    await expectRefused(stage.sidecar.eventsFile, tried, 403, 'address_forbidden');
  });

  test('nor is what the agent holds good for anything there', async () => {
    for (const credentials of [
      `Bearer ${task.handle}`,
      `Basic ${Buffer.from(`task:${task.handle}`).toString('base64')}`,
      task.handle,
    ]) {
      const answer = await exchangeRaw(
        `127.0.0.1:${ports.operator}`,
        Buffer.from(
          `GET /v1/tasks HTTP/1.1\r\nHost: 127.0.0.1:${ports.operator}\r\nAuthorization: ${credentials}\r\n\r\n`,
        ),
      );
      expect([answer.status, answer.code]).toEqual([401, 'token_missing']);
    }
  });
});
