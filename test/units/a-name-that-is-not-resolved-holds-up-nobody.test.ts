import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { exchangeRaw, requestBytes, type RawAnswer } from '../stage/raw-call.ts';
import { openInProcess, type InProcess } from '../stage/sidecar-in-process.ts';

let tool: EchoTool;
let inside: InProcess;
/** Names that were looked up, in order. */
let asked: string[];
/** Milliseconds by which the clock of the sidecar is ahead. */
let aheadMs: number;
/** Lets the silent names have this address. */
let answer: (addresses: readonly string[]) => void;

beforeEach(async () => {
  tool = await openEchoTool();
  asked = [];
  aheadMs = 0;
  const { promise, resolve } = Promise.withResolvers<readonly string[]>();
  answer = resolve;
  inside = await openInProcess(
    { tools: { all: { match: { host: '*.test' }, addresses: 'loopback' } } },
    {
      monotonic: () => performance.now() + aheadMs,
      resolve: (host) => {
        asked.push(host);
        return host === 'well.test' ? Promise.resolve(['127.0.0.1']) : promise;
      },
    },
  );
});
afterEach(async () => {
  await inside.close();
  await tool.close();
});

function call(host: string): Promise<RawAnswer> {
  const authority = `${host}:${tool.port}`;
  return exchangeRaw(inside.outbound, requestBytes('GET', `http://${authority}/x`, { Host: authority }), 20_000);
}

test('a name is looked up once for all who wait, and nobody waits for ever', { timeout: 30_000 }, async () => {
  const startedAt = performance.now();
  const waiting = Array.from({ length: 20 }, () => call('silent.test'));
  expect((await call('well.test')).status).toBe(200);
  const answers = await Promise.all(waiting);
  expect(performance.now() - startedAt).toBeLessThan(12_000);
  expect(new Set(answers.map(({ code }) => code))).toEqual(new Set(['upstream_unreachable']));
  // Who comes while it is still looked up does not wait once more, and has none looked up besides.
  expect((await call('silent.test')).code).toBe('upstream_unreachable');
  expect(asked.filter((host) => host === 'silent.test')).toHaveLength(1);
  answer(['127.0.0.1']);
  await sleep(20);
  expect((await call('silent.test')).status).toBe(200);
});

test('so many names are looked up at a time, and no more', { timeout: 30_000 }, async () => {
  let refused = 0;
  const waiting = Array.from({ length: 300 }, async (_, at) => {
    const { status, code } = await call(`n${at}.test`);
    if (code === 'overloaded') refused += 1;
    return code ?? status;
  });
  await eventually('the others were refused', () => refused === 44);
  answer(['127.0.0.1']);
  expect((await Promise.all(waiting)).filter((code) => code === 200)).toHaveLength(256);
  expect(asked).toHaveLength(256);
  expect((await call('well.test')).status).toBe(200);
});

test('and those that were found before are looked up besides', { timeout: 30_000 }, async () => {
  expect((await call('well.test')).status).toBe(200);
  aheadMs += 6000;
  const waiting = Array.from({ length: 256 }, (_, at) => call(`n${at}.test`));
  await eventually('all of them are looked up', () => asked.length === 257);
  const [another, found] = [await call('n256.test'), await call('well.test')];
  answer(['127.0.0.1']);
  await Promise.all(waiting);
  expect([another.code, found.code ?? found.status]).toEqual(['overloaded', 200]);
});
