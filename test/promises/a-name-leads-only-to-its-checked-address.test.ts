import { createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openDnsServer, type DnsAnswer, type DnsServer } from '../fakes/dns-server.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { callThrough, exchangeRaw, type RawAnswer } from '../stage/raw-call.ts';
import { callInTunnel, expectRefused, type TriedCall } from '../stage/refused-calls.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let dns: DnsServer;
let tool: EchoTool;
/** On the tool's port at another address of this machine: whoever arrives here was sent past the check. */
let elsewhere: Server;
let arrivedElsewhere = 0;
let stage: Stage;
let task: StagedTask;

beforeAll(async () => {
  dns = await openDnsServer();
  tool = await openEchoTool();
  elsewhere = createServer((socket) => {
    arrivedElsewhere += 1;
    socket.destroy();
  });
  await new Promise<void>((done) => elsewhere.listen(tool.port, '127.0.0.2', done));
  const named = (addresses: string | string[]) => ({ port: tool.port, more: { dial: undefined, addresses } });
  stage = await openStage({
    tools: {
      open: named('public'),
      inner: named(['private']),
      near: named('loopback'),
      wide: named(['public', 'private', 'loopback']),
      near2: named('loopback'),
    },
    sections: { dns: { servers: [dns.address] } },
  });
  task = await stage.task();
});
afterAll(async () => {
  await stage?.close();
  await new Promise((done) => elsewhere.close(done));
  await Promise.all([tool.close(), dns.close()]);
});
afterEach(() => {
  expect(arrivedElsewhere).toBe(0);
});

/** `https`, so that no rule on credentials over plain text is what refuses. */
async function tryName(host: string, answer: DnsAnswer): Promise<TriedCall> {
  dns.names[host] = answer;
  const what = `${host}: ${JSON.stringify(answer)}`;
  return {
    what,
    answer: await callThrough(stage.sidecar.addresses.outbound, `https://${host}/x`, { handle: task.handle }),
  };
}

async function tryNames(host: string, answers: readonly DnsAnswer[]): Promise<TriedCall[]> {
  const tried: TriedCall[] = [];
  // One after the other: a name has one answer at a time.
  for (const answer of answers) tried.push(await tryName(host, answer));
  return tried;
}

async function expectForbidden(tried: readonly TriedCall[]): Promise<void> {
  const before = stage.service.counts.token;
  await expectRefused(stage.sidecar.eventsFile, tried, 403, 'address_forbidden');
  expect([stage.service.counts.token, before]).toEqual([0, 0]);
  expect([tool.connections(), tool.seen.length]).toEqual([0, 0]);
}

/** Never, whatever a tool's `addresses` say: metadata services, link-local, "this host", and what is no place at all. */
const never = [
  '169.254.169.254',
  '169.254.170.2',
  '100.100.100.200',
  '168.63.129.16',
  '0.0.0.0',
  '224.0.0.1',
  '255.255.255.255',
  '192.0.0.192',
  '::',
  'fe80::1',
  'fd00:ec2::254',
  '::ffff:169.254.169.254',
  '64:ff9b::a9fe:a9fe',
  '2002:a9fe:a9fe::1',
  'ff02::1',
];
const nearby = ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1', '64:ff9b::7f00:1'];
const inner = ['10.1.2.3', '172.16.0.1', '192.168.1.1', '100.64.0.1', 'fc00::1', '::ffff:10.0.0.1'];
const open = ['93.184.216.34', '2606:2800:21f::1'];

describe('W2: a name is refused for the addresses it has, before any token service is asked', () => {
  test('a public tool that resolves to this machine, to the inside or to metadata', async () => {
    await expectForbidden(
      await tryNames(
        'open.test',
        [...never, ...nearby, ...inner].map((address) => [address]),
      ),
    );
  });

  test('a tool of the inside, or of this machine, that resolves to another kind of place', async () => {
    await expectForbidden(
      await tryNames(
        'inner.test',
        [...never, ...nearby, ...open].map((address) => [address]),
      ),
    );
    await expectForbidden(
      await tryNames(
        'near.test',
        [...never, ...inner, ...open].map((address) => [address]),
      ),
    );
  });

  test('a tool that may be anywhere, at the places that nobody may name', async () => {
    await expectForbidden(
      await tryNames(
        'wide.test',
        never.map((address) => [address]),
      ),
    );
  });

  test('one forbidden address among good ones, in any place and of either family, and at the end of an alias', async () => {
    dns.names['inside.test'] = ['10.0.0.7'];
    const many = Array.from({ length: 12 }, (_, at) => `93.184.216.${at}`);
    const mixes: DnsAnswer[] = [
      ['93.184.216.34', '10.0.0.1'],
      ['10.0.0.1', '93.184.216.34'],
      ['93.184.216.34', '::1'],
      ['2606:2800:21f::1', '127.0.0.1'],
      ['93.184.216.34', '::ffff:169.254.169.254'],
      [...many, '192.168.0.1'],
      { alias: 'inside.test' },
    ];
    await expectForbidden(await tryNames('open.test', mixes));
    await expectForbidden(
      await tryNames('near.test', [
        ['127.0.0.1', '10.0.0.1'],
        ['127.0.0.1', 'fe80::1'],
        ['127.0.0.1', '93.184.216.34'],
      ]),
    );
  });

  test('through every door', async () => {
    dns.names['open.test'] = ['10.0.0.1'];
    const { outbound } = stage.sidecar.addresses;
    const tunnel = { handle: task.handle };
    const doors: [string, Promise<RawAnswer>][] = [
      ['absolute', callThrough(outbound, 'http://open.test/x', tunnel)],
      ['tunnel', callInTunnel(outbound, 'open.test:80', tunnel, { headers: { Host: 'open.test' } })],
      ['high port', callInTunnel(outbound, 'open.test:8080', tunnel, { headers: { Host: 'open.test:8080' } })],
      [
        'TLS',
        callInTunnel(
          outbound,
          'open.test:443',
          { ...tunnel, tls: { ca: '', serverName: 'open.test', insecure: true } },
          { headers: { Host: 'open.test' } },
        ),
      ],
      [
        'mount',
        exchangeRaw(
          outbound,
          Buffer.from(
            `POST /tools/open/x HTTP/1.1\r\nHost: ${outbound}\r\nx-api-key: ${task.handle}\r\nContent-Length: 2\r\n\r\nhi`,
          ),
        ),
      ],
    ];
    await expectForbidden(await Promise.all(doors.map(async ([what, answer]) => ({ what, answer: await answer }))));
  });

  test('a name without any address is not there, and that costs no token either', async () => {
    const tried = await tryNames('open.test', ['nxdomain', 'servfail', [], 'silence', { alias: 'nowhere.test' }]);
    await expectRefused(stage.sidecar.eventsFile, tried, 502, 'upstream_unreachable');
    expect(stage.service.counts.token).toBe(0);
  }, 30_000);
});

describe('W2: the address that was checked is the one that is dialled', () => {
  const questions = (name: string) => dns.seen.filter((seen) => seen.name === name && seen.type === 'A').length;

  test('a name that changes with every question is asked once for a call, and its second answer is never used', async () => {
    dns.names['near2.test'] = (count) => (count === 0 ? ['127.0.0.1'] : ['127.0.0.2']);
    const answer = await callThrough(stage.sidecar.addresses.outbound, `http://near2.test:${tool.port}/x`, {
      handle: task.handle,
    });
    expect([answer.status, questions('near2.test'), tool.connections()]).toEqual([200, 1, 1]);
    expect(tool.seen.at(-1)?.headers.host).toBe(`near2.test:${tool.port}`);
  });

  test('a name that turned bad is refused as soon as it is asked again, though a connection to its good address is open', async () => {
    const url = `http://near.test:${tool.port}/x`;
    const { outbound } = stage.sidecar.addresses;
    dns.names['near.test'] = ['127.0.0.1'];
    expect((await callThrough(outbound, url, { handle: task.handle })).status).toBe(200);
    const [connections, calls, exchanges] = [tool.connections(), tool.seen.length, stage.service.counts.token];
    for (const bad of [['169.254.169.254'], ['127.0.0.1', '10.0.0.1']]) {
      dns.names['near.test'] = bad;
      // An answer is kept for a few seconds, and checked anew after.
      if (bad.length === 1) await sleep(5200);
      const refused = await callThrough(outbound, url, { handle: task.handle });
      expect([refused.status, refused.code]).toEqual([403, 'address_forbidden']);
    }
    expect([tool.connections(), tool.seen.length, stage.service.counts.token]).toEqual([connections, calls, exchanges]);
    dns.names['near.test'] = ['127.0.0.1'];
    expect((await callThrough(outbound, url, { handle: task.handle })).status).toBe(200);
  });
});
