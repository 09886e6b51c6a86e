import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { parseAuthority } from '../../proxy/intercept/authority.ts';

/** Bytes in use behind a collection. */
function usedBytes(): number {
  setFlagsFromString('--expose-gc');
  const collect: unknown = runInNewContext('gc');
  if (typeof collect === 'function') collect();
  return process.memoryUsage().heapUsed;
}

const count = 4000;

test('a host as long as a head may be is not remembered', () => {
  const before = usedBytes();
  for (let at = 0; at < count; at += 1) parseAuthority(`${at}.`.padEnd(28_000, 'h'));
  expect((usedBytes() - before) / count).toBeLessThan(2000);
});

test('a host of the greatest length, with the longest port, is read', () => {
  const host = `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(61)}.`;
  expect(parseAuthority(`${host}:65535`)).toEqual({ host: host.slice(0, -1), port: 65_535 });
  expect(parseAuthority(`${host.replace('d', 'ł')}:443`)).toBeUndefined();
});
