import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { readCpuNs } from '../../../loadtest/cpu.ts';
import type { Measure, Order } from '../../../loadtest/generator.ts';
import { Histogram, median } from '../../../loadtest/histogram.ts';
import { PinnedProcess, stopAll } from '../../../loadtest/processes.ts';
import { makeRequests } from '../../../loadtest/proofs.ts';
import { renderMarkdown } from '../../../loadtest/report-page.ts';
import { summarize } from '../../../loadtest/report.ts';
import { scenarios } from '../../../loadtest/scenarios.ts';
import { readDpopProof, verifyDpopProof } from '../../../proxy/proofs/dpop-check.ts';
import { tries } from '../../stage/tries.ts';

const folder = join(import.meta.dirname, '..', '..', '..', 'loadtest');
const [scenario] = scenarios;
if (scenario === undefined) throw new Error('no scenario');
const request = scenario.request('a-token');

afterAll(stopAll);

function order(port: number, pid: number): Order {
  return { port, request, connections: 4, warmMs: 50, measureMs: 250, pid };
}

/** Loads a server that answers every request with `answer`. */
async function loadServer(answer: (socket: Socket) => void): Promise<Measure> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('data', () => answer(socket)).on('error', () => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const generator = new PinnedProcess([join(folder, 'generator.ts')], undefined);
  const measure = await generator.ask<Measure>(order((server.address() as AddressInfo).port, process.pid));
  for (const socket of sockets) socket.destroy();
  server.close();
  return measure;
}

test('the scenario has 7 request headers, 8 response headers and 1 KB of body', () => {
  const [head = '', body = ''] = scenario.response.split('\r\n\r\n');
  expect(request.trimEnd().split('\r\n').length - 1).toBe(7);
  expect(head.split('\r\n').length - 1).toBe(8);
  expect(body.length).toBe(1024);
  expect(head).toContain('Content-Length: 1024');
});

test('the upstream saw exactly the requests that the generator counted', async () => {
  const upstream = new PinnedProcess([join(folder, 'upstream.ts'), scenario.name], undefined);
  const generator = new PinnedProcess([join(folder, 'generator.ts')], undefined);
  const { port } = await upstream.ask<{ port: number }>();
  const measure = await generator.ask<Measure>(order(port, upstream.pid));
  const seen = await upstream.ask<{ requests: number; lastRequest: string }>({});
  expect(measure.errors).toBe(0);
  expect(measure.requests).toBeGreaterThan(100);
  expect(measure.answers).toBeGreaterThan(measure.requests);
  expect(seen.requests).toBe(measure.answers);
  expect(`${seen.lastRequest}\r\n\r\n`).toBe(request);
  // One process cannot use more CPU than there was time, and answering thousands of requests is not free.
  expect(measure.cpuNs).toBeGreaterThan(1_000_000);
  expect(measure.cpuNs).toBeLessThan(measure.wallMs * 1_000_000 * 1.5);
  expect(measure.p50Ms).toBeGreaterThan(0);
  expect(measure.p99Ms).toBeGreaterThanOrEqual(measure.p50Ms);
});

test.each([
  ['another status', 'HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n', 'HTTP/1.1 502 Bad Gateway'],
  ['an answer of unknown length', 'HTTP/1.1 200 OK\r\n\r\n', 'an answer without Content-Length'],
  ['bytes after the answer', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab', 'bytes after the answer'],
])('%s is an error', async (_what, answer, error) => {
  const measure = await loadServer((socket) => socket.write(answer));
  expect(measure.errors).toBeGreaterThan(0);
  expect(measure.firstError).toBe(error);
});

test('a closed connection is an error', async () => {
  const measure = await loadServer((socket) => socket.end());
  expect(measure.firstError).toBe('connection closed');
});

test('an answer in pieces is one answer', async () => {
  const measure = await loadServer((socket) => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Le');
    setTimeout(() => socket.write('ngth: 4\r\n\r\nab'), 5);
    setTimeout(() => socket.write('cd'), 10);
  });
  expect(measure.errors).toBe(0);
  expect(measure.requests).toBeGreaterThan(10);
  expect(measure.p50Ms).toBeGreaterThanOrEqual(9);
});

test('the CPU of a process grows with its work and not with time', tries, async () => {
  const before = { ours: readCpuNs(process.pid), system: process.cpuUsage() };
  const enoughUs = 100_000;
  let used = process.cpuUsage(before.system);
  while (used.user + used.system < enoughUs) used = process.cpuUsage(before.system);
  const worked = (readCpuNs(process.pid) - before.ours) / 1000;
  expect(worked).toBeGreaterThan(enoughUs * 0.8);
  expect(worked).toBeLessThan(enoughUs * 1.5);
  const child = new PinnedProcess(['--input-type=module', '--eval', 'setInterval(() => {}, 1e6)'], undefined);
  await new Promise((wake) => {
    setTimeout(wake, 400);
  });
  const idle = readCpuNs(child.pid);
  await new Promise((wake) => {
    setTimeout(wake, 200);
  });
  expect(readCpuNs(child.pid) - idle).toBeLessThan(20_000_000);
});

test('percentiles and medians', () => {
  const histogram = new Histogram();
  expect(histogram.percentile(0.5)).toBe(0);
  for (let ms = 1; ms <= 100; ms += 1) histogram.add(ms);
  expect(histogram.percentile(0.5)).toBeCloseTo(50, 1);
  expect(histogram.percentile(0.99)).toBeCloseTo(99, 1);
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
});

test('figures are medians of rounds, ratios are taken round by round', () => {
  const measure = (cpuUs: number, wallMs = 50): Measure => ({
    requests: 1000,
    answers: 1100,
    errors: 0,
    firstError: undefined,
    cpuNs: cpuUs * 1_000_000,
    wallMs,
    p50Ms: 2,
    p99Ms: 4,
  });
  const variants = [
    { name: 'undici', rounds: [40, 80, 50].map((us) => measure(us)) },
    { name: 'waybill', rounds: [50, 96, 65].map((us) => measure(us)) },
  ];
  const method = { rounds: 3, seconds: 0.5, connections: 64, pinned: true, versions: { undici: '8.0.0' } };
  const report = summarize('a machine', method, [{ scenario, variants, verifications: [] }]);
  expect(report).toMatchObject({
    machine: 'a machine',
    scenarios: [
      {
        name: 'get-1k',
        variants: {
          undici: { cpu_us: 50, rps: 20_000, p50_ms: 2, p99_ms: 4, vs_undici: 1 },
          // 1.25, 1.2 and 1.3: the median is 1.25, while 65 / 50 would say 1.3.
          waybill: { cpu_us: 65, rps: 20_000, p50_ms: 2, p99_ms: 4, vs_undici: 1.25 },
        },
      },
    ],
  });
  const page = renderMarkdown(report, new Map());
  expect(page).toContain('| waybill | 65.0 | 1.25 | 20000 | 2.00 | 4.00 | 130 % |');
  expect(page).not.toContain('Disturbed');
  const slow = [{ name: 'undici', rounds: [measure(50, 100)] }];
  const slowReport = summarize('a machine', method, [{ scenario, variants: slow, verifications: [] }]);
  expect(renderMarkdown(slowReport, new Map())).toContain('Disturbed');
});

test('each request of the way in has a proof of its own, made before the load', () => {
  const proved = scenarios.find((one) => one.proved);
  if (proved === undefined) throw new Error('no scenario with proofs');
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
  const wanted = {
    count: 3,
    privateKey: pem,
    htm: 'GET',
    htu: 'http://a.localhost/x',
    ath: 'hash',
    nonce: 'n',
    reusable: false,
  };
  const next = makeRequests(proved.request('a-token'), wanted);
  const proofs = [next(), next(), next()].map(
    (bytes) => /^DPoP: (?<proof>\S+)$/m.exec(String(bytes).replaceAll('\r', ''))?.[1],
  );
  expect(next()).toBeUndefined();
  const claims = proofs.map((proof = '') =>
    verifyDpopProof(readDpopProof(proof), {
      method: 'GET',
      origin: 'http://a.localhost',
      path: '/x',
      ath: 'hash',
      nowMs: Date.now(),
      maxAgeMs: 60_000,
      futureMs: 5000,
    }),
  );
  expect(new Set(claims.map(({ jti }) => jti)).size).toBe(3);
  expect(claims.every(({ nonce }) => nonce === 'n')).toBe(true);
});

test('what the way in costs is told in verifications of the same round', () => {
  const proved = scenarios.find((one) => one.proved);
  if (proved === undefined) throw new Error('no scenario with proofs');
  const rounds = (...cpuUs: number[]): Measure[] =>
    cpuUs.map((us) => ({
      requests: 1000,
      answers: 1100,
      errors: 0,
      firstError: undefined,
      cpuNs: us * 1_000_000,
      wallMs: us,
      p50Ms: 2,
      p99Ms: 4,
    }));
  const variants = [
    { name: 'undici-reverse', rounds: rounds(40, 80, 50) },
    { name: 'waybill-in', rounds: rounds(140, 200, 200) },
  ];
  const method = { rounds: 3, seconds: 1, connections: 64, pinned: true, versions: {} };
  const report = summarize('a machine', method, [{ scenario: proved, variants, verifications: [50, 80, 50] }]);
  // 2, 1.5 and 3 verifications.
  expect(report.scenarios[0]).toMatchObject({
    name: 'inbound-get-1k',
    es256_verify_us: 50,
    variants: { 'waybill-in': { cpu_us: 200, extra_verifications: 2 } },
  });
  const page = renderMarkdown(report, new Map([[proved.name, proved]]));
  expect(page).toContain('2.00 verifications (bar: at most 2)');
});
