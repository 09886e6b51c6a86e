import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { callThrough, exchangeRaw, basic, type RawAnswer } from '../stage/raw-call.ts';
import { callInTunnel, expectRefused, type TriedCall } from '../stage/refused-calls.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

/** Two tools that must never get each other's token, over plain HTTP and over TLS; nothing may reach either. */
const tools: EchoTool[] = [];
let stage: Stage;
let task: StagedTask;
let ca: string;
const names = ['alpha.test', 'beta.test'] as const;

beforeAll(async () => {
  const certificate = await makeToolCertificate(...names);
  for (let count = 0; count < 2; count += 1) tools.push(await openEchoTool(), await openEchoTool({ tls: certificate }));
  const [alpha, alphaTls, beta, betaTls] = tools.map(({ port }) => port);
  const at = (port: number | undefined, host: string, named?: number) => ({
    port: port ?? 0,
    ...(named === undefined ? {} : { ca: certificate.ca }),
    more: { match: { host, ...(named === undefined ? {} : { port: named }) } },
  });
  stage = await openStage({
    tools: {
      alpha: at(alpha, names[0]),
      alpha_tls: at(alphaTls, names[0], 443),
      alpha_high: at(alphaTls, names[0], 8443),
      beta: at(beta, names[1]),
      beta_tls: at(betaTls, names[1], 443),
    },
  });
  task = await stage.task();
  ca = readFileSync(stage.sidecar.caFile, 'utf8');
});

afterAll(async () => {
  await stage?.close();
  await Promise.all(tools.map((tool) => tool.close()));
});

/** Refused, recorded, and nobody else heard of it. */
async function expectNothingLeft(calls: readonly TriedCall[], ...codes: string[]): Promise<void> {
  await expectRefused(stage.sidecar.eventsFile, calls, 400, ...codes);
  expect(tools.map((tool) => [tool.connections(), tool.seen.length])).toEqual(tools.map(() => [0, 0]));
  expect(stage.service.counts).toMatchObject({ token: 0, introspect: 0, revoke: 0 });
}

async function tryAll(calls: readonly (readonly [what: string, call: () => Promise<RawAnswer>])[]) {
  return Promise.all(calls.map(async ([what, call]) => ({ what, answer: await call() })));
}

describe('W2: names that do not agree are refused before any token service is asked, and reach nobody', () => {
  const outbound = (): string => stage.sidecar.addresses.outbound;
  const others = [
    'beta.test',
    'beta.test:80',
    'alpha.test:443',
    'alpha.test:8080',
    'unlisted.test',
    '127.0.0.1',
    'localhost',
    'alpha.test.beta.test',
    'xalpha.test',
    'alpha.tes',
    '[::1]',
    'waybill.local',
  ];

  test('absolute URI and Host on the proxy itself', async () => {
    const calls = others.map(
      (host) =>
        [
          host,
          () => callThrough(outbound(), 'http://alpha.test/x', { headers: { Host: host }, handle: task.handle }),
        ] as const,
    );
    const https = ['alpha.test:80', 'beta.test', 'beta.test:443'].map(
      (host) =>
        [
          `https ${host}`,
          () => callThrough(outbound(), 'https://alpha.test/x', { headers: { Host: host }, handle: task.handle }),
        ] as const,
    );
    const ports = ['alpha.test', 'alpha.test:80', 'alpha.test:8444'].map(
      (host) =>
        [
          `8443 ${host}`,
          () => callThrough(outbound(), 'http://alpha.test:8443/x', { headers: { Host: host }, handle: task.handle }),
        ] as const,
    );
    await expectNothingLeft(await tryAll([...calls, ...https, ...ports]), 'authority_mismatch');
  });

  test('CONNECT target and its own Host', async () => {
    const calls = ['beta.test:80', 'beta.test', 'alpha.test:443', '127.0.0.1:80', 'alpha.test:8080'].map(
      (host) =>
        [
          host,
          () =>
            callInTunnel(
              outbound(),
              'alpha.test:80',
              { handle: task.handle, headers: { Host: host } },
              { headers: {} },
            ),
        ] as const,
    );
    await expectNothingLeft(await tryAll(calls), 'authority_mismatch');
  });

  test('CONNECT target, Host and absolute URI, with plain HTTP inside', async () => {
    const hosts = others.map((host) => [host, '/x', host] as const);
    const urls = [
      ['alpha.test', 'http://beta.test/x'],
      ['beta.test', 'http://alpha.test/x'],
      ['beta.test', 'http://beta.test/x'],
      ['alpha.test', 'http://alpha.test:8080/x'],
      ['alpha.test', 'https://alpha.test/x'],
      ['alpha.test', 'https://alpha.test:80/x'],
      ['alpha.test', 'http://127.0.0.1/x'],
    ].map(([host = '', url = '']) => [`${host} ${url}`, url, host] as const);
    const calls = [...hosts, ...urls].map(
      ([what, url, host]) =>
        [
          what,
          () => callInTunnel(outbound(), 'alpha.test:80', { handle: task.handle }, { url, headers: { Host: host } }),
        ] as const,
    );
    await expectNothingLeft(await tryAll(calls), 'authority_mismatch');
  });

  test('CONNECT target, TLS server name, Host and absolute URI, in every combination of two names', async () => {
    const combinations = [0, 1].flatMap((connect) =>
      [0, 1, undefined].flatMap((sni) =>
        [0, 1].flatMap((host) => [0, 1, undefined].map((uri) => [connect, sni, host, uri] as const)),
      ),
    );
    const disagree = combinations.filter((all) => new Set(all.filter((one) => one !== undefined)).size > 1);
    expect(disagree.length).toBe(28);
    const nameOf = (index: number): string => names[index] ?? '';
    const calls = disagree.map(([connect, sni, host, uri]) => {
      const url = uri === undefined ? '/x' : `https://${nameOf(uri)}/x`;
      const tls = { ca, serverName: sni === undefined ? undefined : nameOf(sni), insecure: true };
      const call = () =>
        callInTunnel(
          outbound(),
          `${nameOf(connect)}:443`,
          { handle: task.handle, tls },
          { url, headers: { Host: nameOf(host) } },
        );
      return [`${connect} ${sni} ${host} ${uri}`, call] as const;
    });
    await expectNothingLeft(await tryAll(calls), 'authority_mismatch');
  });

  test('a server name or port of nobody, inside TLS', async () => {
    const tries = [
      ['unlisted.test', 'alpha.test', '/x', 'alpha.test:443'],
      ['sub.alpha.test', 'alpha.test', '/x', 'alpha.test:443'],
      ['alpha.test', 'alpha.test:8443', '/x', 'alpha.test:443'],
      ['alpha.test', 'alpha.test', 'http://alpha.test/x', 'alpha.test:443'],
      ['alpha.test', 'alpha.test:443', '/x', 'alpha.test:8443'],
      ['alpha.test', 'alpha.test', 'https://alpha.test/x', 'alpha.test:8443'],
      ['alpha.test', 'alpha.test:8443', 'https://alpha.test/x', 'alpha.test:8443'],
    ];
    const calls = tries.map(([serverName = '', host = '', url = '', target = '']) => {
      const tls = { ca, serverName, insecure: true };
      return [
        `${target} ${serverName} ${host} ${url}`,
        () => callInTunnel(outbound(), target, { handle: task.handle, tls }, { url, headers: { Host: host } }),
      ] as const;
    });
    await expectNothingLeft(await tryAll(calls), 'authority_mismatch');
  });

  test('a mount called by another name than the listener’s own, and the listener by another name than its mounts', async () => {
    const own = outbound();
    const port = own.split(':')[1] ?? '';
    const auth = `Authorization: Bearer ${task.handle}\r\n`;
    const hosts = [
      'alpha.test',
      'beta.test',
      'evil.test',
      `evil.test:${port}`,
      '127.0.0.1',
      '127.0.0.1:1',
      `127.0.0.2:${port}`,
      'localhost',
      `localhost.evil.test:${port}`,
      `waybill.local`,
    ];
    const calls = hosts.map(
      (host) =>
        [
          host,
          () => exchangeRaw(own, Buffer.from(`GET /tools/alpha/x HTTP/1.1\r\nHost: ${host}\r\n${auth}\r\n`)),
        ] as const,
    );
    const absolute = ['alpha.test', 'evil.test', 'localhost'].map(
      (host) =>
        [
          `absolute ${host}`,
          () =>
            exchangeRaw(own, Buffer.from(`GET http://${own}/tools/alpha/x HTTP/1.1\r\nHost: ${host}\r\n${auth}\r\n`)),
        ] as const,
    );
    await expectNothingLeft(await tryAll([...calls, ...absolute]), 'authority_mismatch');
  });

  test('names that two readers could take for two', async () => {
    const credentials = `Proxy-Authorization: ${basic(task.handle)}\r\n`;
    const send =
      (target: string, hosts: readonly string[], method = 'GET') =>
      () =>
        exchangeRaw(
          outbound(),
          Buffer.from(
            `${method} ${target} HTTP/1.1\r\n${hosts.map((host) => `${host}\r\n`).join('')}${credentials}\r\n`,
            'latin1',
          ),
        );
    const uri = 'http://alpha.test/x';
    const hosts = [
      'Host: alpha.test, beta.test',
      'Host: user@alpha.test',
      'Host: alpha.test@beta.test',
      'Host: alpha.test/x',
      'Host: alpha.test#beta.test',
      'Host: alpha.test?beta.test',
      'Host: alpha.test\\beta.test',
      'Host: http://alpha.test',
      'Host: alpha.test:',
      'Host: alpha.test:80:80',
      'Host: alpha.test:0',
      'Host: alpha.test:65616',
      'Host: alpha.test:+80',
      'Host: alpha.test:80x',
      'Host: alpha%2etest',
      'Host: alpha..test',
      'Host: .alpha.test',
      'Host: alpha.test..',
      'Host: alpha test',
      'Host: "alpha.test"',
      'Host: ',
      'Host: [alpha.test]',
      'Host: alpha.test\xad',
      'Host: *',
    ];
    const calls = hosts.map((host) => [host, send(uri, [host])] as const);
    const doubled = [
      ['Host: alpha.test', 'Host: alpha.test'],
      ['Host: alpha.test', 'host: beta.test'],
      ['Host: beta.test', 'HOST: alpha.test'],
      [],
    ].map((list) => [list.join('+'), send(uri, list)] as const);
    const uris = [
      'http://user@alpha.test/x',
      'http://alpha.test@beta.test/x',
      'http://beta.test:80@alpha.test/x',
      'http://alpha.test\\@beta.test/x',
      'http://alpha.test#@beta.test/x',
      'http:///x',
      'http:/alpha.test/x',
      'http:alpha.test/x',
      'http://alpha.test:/x',
      'http://alpha.test:80:443/x',
      'http://alpha%2etest/x',
      'ftp://alpha.test/x',
      'alpha.test/x',
      'alpha.test:80',
      '*',
      'http://[alpha.test]/x',
      'http://alpha.test:99999/x',
    ].map((target) => [target, send(target, ['Host: alpha.test'])] as const);
    const connects = [
      'alpha.test',
      'alpha.test:',
      'alpha.test:0',
      'alpha.test:99999',
      'user@alpha.test:80',
      'http://alpha.test:80',
      'alpha.test:80/x',
      '/x',
      '*',
      'alpha.test:80:80',
      ':80',
    ].map((target) => [`CONNECT ${target}`, send(target, ['Host: alpha.test:80'], 'CONNECT')] as const);
    const tried = await tryAll([...calls, ...doubled, ...uris, ...connects]);
    await expectNothingLeft(tried, 'message_malformed', 'authority_mismatch');
  });
});
