import { existsSync, readFileSync } from 'node:fs';
import { BlockList, connect, isIP } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EgressGuard } from '../../proxy/route/egress-guard.ts';
import { realWorld } from '../../proxy/world.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { exchangeRaw, exchangeOn, dial, type RawAnswer } from '../stage/raw-call.ts';
import { openInProcess, type InProcess } from '../stage/sidecar-in-process.ts';

const suite = join(import.meta.dirname, '../../../shared/suites/ssrf/dev.jsonl');

interface Row {
  readonly id: string;
  readonly host?: string;
  readonly url?: string;
  readonly resolves?: string | readonly (string | readonly string[])[];
  readonly block: true | string;
  readonly why: string;
}

/** An own list of places where nothing of ours may go, independent of the product's. Two, since a list takes IPv4 for mapped IPv6. */
const forbidden4 = new BlockList();
const forbidden6 = new BlockList();
for (const [net, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 3],
] as const) {
  forbidden4.addSubnet(net, bits, 'ipv4');
}
for (const [net, bits] of [
  ['::', 96],
  ['::ffff:0:0', 96],
  ['64:ff9b::', 96],
  ['64:ff9b:1::', 48],
  ['2001::', 32],
  ['2002::', 16],
  ['fc00::', 7],
  ['fe80::', 10],
  ['ff00::', 8],
] as const) {
  forbidden6.addSubnet(net, bits, 'ipv6');
}
forbidden4.addAddress('168.63.129.16', 'ipv4');

function isForbidden(address: string): boolean {
  if (isIP(address) === 4) return forbidden4.check(address, 'ipv4');
  return isIP(address) !== 6 || forbidden6.check(address, 'ipv6');
}

let sink: EchoTool;
let inside: InProcess;
/** Addresses that the sidecar wanted a connection to, and what names resolve to now: one answer after the other, the last for ever. */
const dialled: string[] = [];
let answers: readonly (readonly string[])[] = [];
let asked = 0;

beforeAll(async () => {
  sink = await openEchoTool();
  inside = await openInProcess(
    // A destination for everything that is in public address space, the widest that a configuration can give.
    { tools: { anything: { match: { host: '*' } } } },
    {
      resolve: async () => {
        const found = answers[Math.min(asked, answers.length - 1)] ?? [];
        asked += 1;
        if (found.length === 0) throw new Error('no such name');
        return found;
      },
      dial: (address) => {
        dialled.push(address);
        return connect(sink.port, '127.0.0.1');
      },
    },
  );
});
afterAll(async () => {
  await inside?.close();
  await sink?.close();
});

/** What a hostile resolver says for a row: every name, whatever its spelling, leads to the row's address. */
function answersOf({ resolves, block }: Row): readonly (readonly string[])[] {
  if (resolves === undefined) return [[block === true ? '169.254.169.254' : '127.0.0.1']];
  if (typeof resolves === 'string') return [[resolves]];
  if (resolves.some((entry) => typeof entry !== 'string')) return [resolves.flat()];
  // A chain of aliases ends at its address; hints of other records are not addresses.
  return resolves.map((entry) => (/RR/.test(String(entry)) ? [] : [String(entry).replace(/^.*-> /, '')]));
}

/** Every way in which an agent could ask for the host: three requests, each on a connection of its own. */
function requestsOf(row: Row): readonly Buffer[] {
  const urls =
    row.url === undefined
      ? [`http://${row.host}/`, `https://${row.host}/`]
      : row.url.split('\n').filter((url) => url !== '');
  return urls.flatMap((url) => {
    const host = row.host ?? /^[a-z]+:[/\\]*([^/?#\s]*)/i.exec(url)?.[1] ?? url;
    const bare = host.replace(/:\d+$/, '');
    return [
      Buffer.from(`GET ${url} HTTP/1.1\r\nHost: ${host}\r\n\r\n`),
      ...[80, 443].map((port) => Buffer.from(`CONNECT ${bare}:${port} HTTP/1.1\r\nHost: ${bare}:${port}\r\n\r\n`)),
    ];
  });
}

async function callAll(request: Buffer): Promise<RawAnswer> {
  if (!request.toString('latin1').startsWith('CONNECT')) return exchangeRaw(inside.outbound, request, 5000);
  const socket = dial(inside.outbound);
  try {
    const opened = await exchangeOn(socket, request, 5000);
    if (opened.status !== 200) return opened;
    const host = /Host: (.*)\r\n/.exec(request.toString())?.[1] ?? '';
    return await exchangeOn(socket, Buffer.from(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`), 5000);
  } finally {
    socket.destroy();
  }
}

describe('W2: an address that a tool may not have is never dialled', () => {
  test('in any spelling, by any name, through any door (the suite ssrf)', async (context) => {
    if (!existsSync(suite)) {
      console.log('skipped: suites not present');
      context.skip('suites not present');
    }
    const rows = readFileSync(suite, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Row);
    const reached: string[] = [];
    let refused = 0;
    for (const row of rows) {
      for (const request of requestsOf(row)) {
        answers = answersOf(row);
        asked = 0;
        dialled.length = 0;
        const before = sink.seen.length;
        const answer = await callAll(request);
        const wrong = dialled.filter(isForbidden);
        if (wrong.length > 0)
          reached.push(`${row.id} (${row.why}): ${request.toString().split('\r')[0]} -> ${wrong.join()}`);
        if (sink.seen.length === before) refused += 1;
        // What was not sent anywhere was refused by us, and said so.
        if (sink.seen.length === before && (answer.status < 400 || answer.code === undefined))
          reached.push(`${row.id}: ${answer.status}`);
      }
    }
    expect(reached).toEqual([]);
    expect(rows.length).toBeGreaterThan(300);
    expect(refused).toBeGreaterThan(rows.length * 3);
  });

  test('nor is the sidecar’s own name looked up, by whatever tool it could be called', async () => {
    answers = [['93.184.216.34']];
    asked = 0;
    dialled.length = 0;
    const names = ['waybill.local', 'WAYBILL.local.', 'waybill.local:80', 'waybill.local:443', 'waybill.local:8080'];
    for (const host of names) {
      const bare = host.replace(/:\d+$/, '');
      const requests = [
        ...['http', 'https'].map((scheme) => `GET ${scheme}://${host}/foo HTTP/1.1\r\nHost: ${host}\r\n\r\n`),
        `POST http://${host}/v1/tasks HTTP/1.1\r\nHost: ${host}\r\nOrigin: http://x\r\nContent-Length: 2\r\n\r\n{}`,
        ...[80, 443].map((port) => `CONNECT ${bare}:${port} HTTP/1.1\r\nHost: ${bare}:${port}\r\n\r\n`),
      ];
      for (const request of requests) {
        const { status, code } = await callAll(Buffer.from(request));
        expect([request, status, code]).toEqual([request, 403, 'destination_unlisted']);
      }
    }
    expect([asked, dialled]).toEqual([0, []]);
  });

  test('nor as a tool of that name, by its mount, or as the host of a token service', async () => {
    const looked: string[] = [];
    const resolve = async (host: string) => {
      looked.push(host);
      return ['93.184.216.34'];
    };
    const named = await openInProcess({ tools: { us: { match: { host: 'waybill.local' } } } }, { resolve });
    try {
      const bytes = `GET /tools/us/x HTTP/1.1\r\nHost: ${named.outbound}\r\n\r\n`;
      const answer = await exchangeRaw(named.outbound, Buffer.from(bytes));
      expect([answer.code, looked]).toEqual(['destination_unlisted', []]);
      const guard = new EgressGuard({ ...realWorld([]), resolve }, () => false);
      const service = { host: 'waybill.local', port: 443, addresses: ['public'], dial: undefined } as const;
      await expect(guard.find(service)).rejects.toMatchObject({ code: 'address_forbidden' });
      expect(looked).toEqual([]);
    } finally {
      await named.close();
    }
  });

  test('while a public address is, by name and by number', async () => {
    answers = [['93.184.216.34']];
    for (const host of ['public.test', '93.184.216.34', '[2606:2800:21f::1]', '203.0.113.10']) {
      asked = 0;
      dialled.length = 0;
      const answer = await callAll(Buffer.from(`GET http://${host}/ HTTP/1.1\r\nHost: ${host}\r\n\r\n`));
      expect([answer.status, dialled]).toEqual([
        200,
        [host === 'public.test' ? '93.184.216.34' : host.replace(/[[\]]/g, '')],
      ]);
    }
  });
});
