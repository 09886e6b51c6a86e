import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decodeJwt } from 'jose';
import { basic, callThrough, dial, exchangeOn, exchangeRaw, openTunnel, requestBytes } from '../stage/raw-call.ts';
import { callInTunnel } from '../stage/refused-calls.ts';
import { openTwoNames, tryAll, type Attempt, type TwoNames } from '../stage/two-names.ts';

let two: TwoNames;

beforeAll(async () => {
  two = await openTwoNames();
});
afterAll(() => two?.close());

function raw(target: string, hosts: readonly string[], method = 'GET'): Attempt {
  const lines = [...hosts, `Proxy-Authorization: ${basic(two.task.handle)}`].map((line) => `${line}\r\n`);
  const bytes = Buffer.from(`${method} ${target} HTTP/1.1\r\n${lines.join('')}\r\n`, 'latin1');
  return [`${method} ${target} ${hosts.join('+')}`, () => exchangeRaw(two.outbound, bytes)];
}

describe('W2: what two readers could take for two names is no name', () => {
  test('in Host', async () => {
    const hosts = [
      'alpha.test, beta.test',
      'user@alpha.test',
      'alpha.test@beta.test',
      'user:pass@alpha.test:80',
      'alpha.test/x',
      'alpha.test#beta.test',
      'alpha.test?beta.test',
      'alpha.test\\beta.test',
      'http://alpha.test',
      'alpha.test:',
      'alpha.test:80:80',
      'alpha.test:0',
      'alpha.test:65616',
      'alpha.test:+80',
      'alpha.test:80x',
      'alpha.test:0x50',
      'alpha%2etest',
      'alpha..test',
      '.alpha.test',
      'alpha.test..',
      'alpha test',
      '"alpha.test"',
      '',
      '[alpha.test]',
      'alpha.test\xad',
      'alpha.test\t.beta.test',
      '*',
      '*.test',
    ];
    await two.expectNothingLeft(
      await tryAll(hosts.map((host) => raw('http://alpha.test/x', [`Host: ${host}`]))),
      'message_malformed',
      'authority_mismatch',
    );
  });

  test('in two Hosts, or in none', async () => {
    const lists = [
      ['Host: alpha.test', 'Host: alpha.test'],
      ['Host: alpha.test', 'host: beta.test'],
      ['Host: beta.test', 'HOST: alpha.test'],
      ['Host: alpha.test', 'Host:'],
      [],
    ];
    const attempts = lists.flatMap((list) => [raw('http://alpha.test/x', list), raw('alpha.test:80', list, 'CONNECT')]);
    // Without any Host, a CONNECT still has one name, its target: that is no disagreement.
    await two.expectNothingLeft(await tryAll(attempts.slice(0, -1)), 'message_malformed', 'authority_mismatch');
  });

  test('in the target', async () => {
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
      '//alpha.test/x',
      'http://[alpha.test]/x',
      'http://alpha.test:99999/x',
      'http://alpha.test,beta.test/x',
    ];
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
      'alpha.test:http',
    ];
    const attempts = [
      ...uris.map((uri) => raw(uri, ['Host: alpha.test'])),
      ...connects.map((target) => raw(target, ['Host: alpha.test:80'], 'CONNECT')),
    ];
    await two.expectNothingLeft(await tryAll(attempts), 'message_malformed', 'authority_mismatch');
  });
});

describe('W2: default port, letter case and a trailing dot are the same name', () => {
  test('and so is a Host without port inside CONNECT; each reaches its tool with that tool’s own token', async () => {
    const { outbound, task, ca } = two;
    const port = outbound.split(':')[1] ?? '';
    const tunnel = { handle: task.handle };
    const tls = (serverName: string | undefined) => ({
      ...tunnel,
      tls: { ca, serverName, ...(serverName === undefined ? { insecure: true } : {}) },
    });
    const absolute = (url: string, host: string): Attempt => [
      `${url} ${host}`,
      () => callThrough(outbound, url, { headers: { Host: host }, handle: task.handle }),
    ];
    const inside = (target: string, how: Parameters<typeof callInTunnel>[2], url: string, host: string): Attempt => [
      `${target} ${url} ${host}`,
      () => callInTunnel(outbound, target, how, { url, headers: { Host: host } }),
    ];
    const plain = [
      absolute('http://alpha.test/p', 'alpha.test'),
      absolute('http://ALPHA.test/p', 'alpha.TEST'),
      absolute('http://alpha.test/p', 'alpha.test:80'),
      absolute('http://alpha.test:80/p', 'alpha.test'),
      absolute('http://alpha.test:080/p', 'alpha.test:80'),
      absolute('http://alpha.test./p', 'alpha.test'),
      absolute('http://alpha.test/p', 'Alpha.Test.:80'),
      absolute('HTTP://alpha.test/p', 'alpha.test'),
      inside('alpha.test:80', tunnel, '/p', 'alpha.test'),
      inside('ALPHA.test.:80', { ...tunnel, headers: { Host: 'alpha.test' } }, '/p', 'alpha.test:80'),
      inside('alpha.test:80', tunnel, 'http://ALPHA.TEST:80/p', 'alpha.test.'),
      [
        'mount',
        () =>
          exchangeRaw(
            outbound,
            Buffer.from(`GET /tools/alpha/p HTTP/1.1\r\nHost: ${outbound}\r\nx-api-key: ${task.handle}\r\n\r\n`),
          ),
      ] as Attempt,
      [
        'mount',
        () =>
          exchangeRaw(
            outbound,
            Buffer.from(`GET /tools/alpha/p HTTP/1.1\r\nHost: LOCALHOST.:${port}\r\nx-api-key: ${task.handle}\r\n\r\n`),
          ),
      ] as Attempt,
      [
        'mount',
        () =>
          exchangeRaw(
            outbound,
            Buffer.from(
              `GET http://localhost:${port}/tools/alpha/p HTTP/1.1\r\nHost: LOCALHOST:${port}\r\nx-api-key: ${task.handle}\r\n\r\n`,
            ),
          ),
      ] as Attempt,
    ];
    const secure = [
      absolute('https://alpha.test/p', 'ALPHA.test:443'),
      inside('alpha.test:443', tls('alpha.test'), '/p', 'alpha.test'),
      inside('alpha.test:443', tls('ALPHA.test'), '/p', 'alpha.test:443'),
      inside('Alpha.Test:443', tls('alpha.test'), 'https://alpha.test/p', 'alpha.test.'),
      inside('alpha.test.:443', tls('alpha.test'), '/p', 'ALPHA.TEST'),
      inside('alpha.test:443', tls(undefined), '/p', 'alpha.test'),
    ];
    const high = [
      inside('alpha.test:8443', tls('alpha.test'), '/p', 'alpha.test'),
      inside('alpha.test:8443', tls('alpha.test'), '/p', 'alpha.test:8443'),
      inside('alpha.test:8443', tls('alpha.test'), 'https://alpha.test:8443/p', 'ALPHA.test'),
    ];
    const tried = await tryAll([...plain, ...secure, ...high]);
    expect(
      tried.filter(({ answer }) => answer.status !== 200).map(({ what, answer }) => `${what} ${answer.body}`),
    ).toEqual([]);

    const seenAt = (tool: TwoNames['alpha']) =>
      tool.seen
        .map(
          ({ headers }) =>
            `${headers.host} ${String(decodeJwt((headers.authorization ?? '').replace('Bearer ', '')).aud)}`,
        )
        .toSorted();
    expect(seenAt(two.alpha)).toEqual(plain.map(() => 'alpha.test alpha'));
    expect(seenAt(two.alphaTls)).toEqual([
      ...secure.map(() => 'alpha.test alpha_tls'),
      ...high.map(() => 'alpha.test:8443 alpha_high'),
    ]);
    // One token for each origin: another spelling is not another destination.
    expect(two.stage.service.counts.token).toBe(3);
  });

  test('an IPv6 address has as many spellings as it has', async () => {
    const { outbound, task, alpha, stage } = two;
    const [seen, tokens] = [alpha.seen.length, stage.service.counts.token];
    const spellings = ['[2001:db8::5]', '[2001:DB8::5]', '[2001:0db8:0:0:0:0:0:5]', '[2001:db8::0.0.0.5]'];
    for (const uri of spellings) {
      for (const host of spellings) {
        const answer = await callThrough(outbound, `http://${uri}/six`, {
          headers: { Host: host },
          handle: task.handle,
        });
        expect([uri, host, answer.status]).toEqual([uri, host, 200]);
      }
    }
    expect(new Set(alpha.seen.slice(seen).map(({ headers }) => headers.host))).toEqual(new Set(['[2001:db8::5]']));
    expect(stage.service.counts.token - tokens).toBe(1);
    const wrong = ['[2001:db8::6]', '2001:db8::5', '[2001:db8::5%25eth0]', '[2001:db8::5', '[::ffff:127.0.0.1]'].map(
      (host) => raw('http://[2001:db8::5]/six', [`Host: ${host}`]),
    );
    const refused = await tryAll(wrong);
    expect(refused.map(({ answer }) => answer.status)).toEqual(wrong.map(() => 400));
  });

  test('also when thousands of other names were called meanwhile', async () => {
    const { outbound, task } = two;
    const tunnel = await openTunnel(outbound, 'alpha.test:80', { handle: task.handle });
    const inside = requestBytes('GET', 'http://alpha.test/late', { Host: 'alpha.test' });
    expect((await exchangeOn(tunnel, inside)).status).toBe(200);
    const socket = dial(outbound);
    for (let count = 0; count < 4200; count += 1) {
      const name = `made-up-${count}.test`;
      expect((await exchangeOn(socket, requestBytes('GET', `http://${name}/`, { Host: name }))).code).toBe(
        'destination_unlisted',
      );
    }
    socket.destroy();
    expect((await exchangeOn(tunnel, inside)).status).toBe(200);
    tunnel.destroy();
  }, 60_000);
});
