import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { callThrough, exchangeRaw } from '../stage/raw-call.ts';
import { callInTunnel } from '../stage/refused-calls.ts';
import { openTwoNames, tryAll, type Attempt, type TwoNames } from '../stage/two-names.ts';

let two: TwoNames;

beforeAll(async () => {
  two = await openTwoNames();
});
afterAll(() => two?.close());

/** Names of others for what should be `alpha.test`. */
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

function absolute(url: string, host: string): Attempt {
  return [`${url} ${host}`, () => callThrough(two.outbound, url, { headers: { Host: host }, handle: two.task.handle })];
}

function connected(target: string, url: string, host: string, connectHost = target): Attempt {
  const tunnel = { handle: two.task.handle, headers: { Host: connectHost } };
  return [
    `${target} ${connectHost} ${url} ${host}`,
    () => callInTunnel(two.outbound, target, tunnel, { url, headers: { Host: host } }),
  ];
}

function secured(target: string, serverName: string | undefined, url: string, host: string): Attempt {
  const tunnel = { handle: two.task.handle, tls: { ca: two.ca, serverName, insecure: true } };
  return [
    `${target} ${serverName} ${url} ${host}`,
    () => callInTunnel(two.outbound, target, tunnel, { url, headers: { Host: host } }),
  ];
}

function mounted(target: string, host: string): Attempt {
  const bytes = `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${two.task.handle}\r\n\r\n`;
  return [`${target} ${host}`, () => exchangeRaw(two.outbound, Buffer.from(bytes))];
}

describe('W2: names that do not agree are refused before any token service is asked, and reach nobody', () => {
  test('absolute URI and Host on the proxy itself', async () => {
    const attempts = [
      ...others.map((host) => absolute('http://alpha.test/x', host)),
      ...['alpha.test:80', 'beta.test', 'beta.test:443'].map((host) => absolute('https://alpha.test/x', host)),
      ...['alpha.test', 'alpha.test:80', 'alpha.test:8444'].map((host) => absolute('http://alpha.test:8443/x', host)),
    ];
    await two.expectNothingLeft(await tryAll(attempts), 'authority_mismatch');
  });

  test('CONNECT target and its own Host', async () => {
    const hosts = ['beta.test:80', 'beta.test', 'alpha.test:443', '127.0.0.1:80', 'alpha.test:8080'];
    const attempts = hosts.map((host) => connected('alpha.test:80', '/x', 'alpha.test', host));
    await two.expectNothingLeft(await tryAll(attempts), 'authority_mismatch');
  });

  test('CONNECT target, Host and absolute URI, with plain HTTP inside', async () => {
    const attempts = [
      ...others.map((host) => connected('alpha.test:80', '/x', host)),
      connected('alpha.test:80', 'http://beta.test/x', 'alpha.test'),
      connected('alpha.test:80', 'http://alpha.test/x', 'beta.test'),
      connected('alpha.test:80', 'http://beta.test/x', 'beta.test'),
      connected('alpha.test:80', 'http://alpha.test:8080/x', 'alpha.test'),
      connected('alpha.test:80', 'https://alpha.test/x', 'alpha.test'),
      connected('alpha.test:80', 'https://alpha.test:80/x', 'alpha.test'),
      connected('alpha.test:80', 'http://127.0.0.1/x', 'alpha.test'),
      connected('alpha.test:8080', 'http://alpha.test/x', 'alpha.test'),
    ];
    await two.expectNothingLeft(await tryAll(attempts), 'authority_mismatch');
  });

  test('CONNECT target, TLS server name, Host and absolute URI, in every combination of two names', async () => {
    const names = ['alpha.test', 'beta.test'] as const;
    const maybe = [...names, undefined];
    const all = names.flatMap((connect) =>
      maybe.flatMap((sni) => names.flatMap((host) => maybe.map((uri) => ({ connect, sni, host, uri })))),
    );
    const disagreeing = all.filter((one) => new Set(Object.values(one).filter((name) => name !== undefined)).size > 1);
    expect(disagreeing.length).toBe(28);
    const attempts = disagreeing.map(({ connect, sni, host, uri }) =>
      secured(`${connect}:443`, sni, uri === undefined ? '/x' : `https://${uri}/x`, host),
    );
    await two.expectNothingLeft(await tryAll(attempts), 'authority_mismatch');
  });

  test('a server name, a port or a scheme of nobody, inside TLS', async () => {
    const attempts = [
      secured('alpha.test:443', 'unlisted.test', '/x', 'alpha.test'),
      secured('alpha.test:443', 'sub.alpha.test', '/x', 'alpha.test'),
      secured('alpha.test:443', 'alpha.test', '/x', 'alpha.test:8443'),
      secured('alpha.test:443', 'alpha.test', 'http://alpha.test/x', 'alpha.test'),
      secured('alpha.test:443', 'alpha.test', 'http://alpha.test:443/x', 'alpha.test'),
      secured('alpha.test:8443', 'alpha.test', '/x', 'alpha.test:443'),
      secured('alpha.test:8443', 'alpha.test', 'https://alpha.test/x', 'alpha.test'),
      secured('alpha.test:8443', 'alpha.test', 'https://alpha.test/x', 'alpha.test:8443'),
    ];
    await two.expectNothingLeft(await tryAll(attempts), 'authority_mismatch');
  });

  test('a mount that is called by another name than the listener’s own', async () => {
    const own = two.outbound;
    const port = own.split(':')[1] ?? '';
    const wrong = [
      'alpha.test',
      'evil.test',
      `evil.test:${port}`,
      '127.0.0.1',
      '127.0.0.1:1',
      `127.0.0.2:${port}`,
      'localhost',
      `localhost.evil.test:${port}`,
      `0.0.0.0:${port}`,
      'waybill.local',
    ];
    const attempts = [
      ...wrong.map((host) => mounted('/tools/alpha/x', host)),
      ...['alpha.test', 'evil.test', 'localhost'].map((host) => mounted(`http://${own}/tools/alpha/x`, host)),
    ];
    await two.expectNothingLeft(await tryAll(attempts), 'authority_mismatch');
  });
});
