import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { knownFirst } from '../../proxy/world.ts';

/** How long the system takes for a name whose servers are silent. */
const silentMs = 10_000;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** The system: it looks up two names at a time, and the others behind them. */
function openSystem() {
  const asked: string[] = [];
  const waiting: (() => void)[] = [];
  let free = 2;
  const look = async (host: string): Promise<readonly string[]> => {
    if (free === 0) await new Promise<void>((done) => waiting.push(done));
    else free -= 1;
    asked.push(host);
    const isSilent = host.startsWith('silent');
    await new Promise((done) => setTimeout(done, isSilent ? silentMs : 10));
    const next = waiting.shift();
    if (next === undefined) free += 1;
    else next();
    if (isSilent) throw new Error('no answer');
    return ['127.0.0.1'];
  };
  return { asked, resolve: knownFirst(look, () => performance.now()) };
}

/** Milliseconds that a look-up took, or `lost`. */
async function timeOf(lookup: Promise<unknown>): Promise<number | 'lost'> {
  const startedAt = performance.now();
  return lookup.then(
    () => performance.now() - startedAt,
    () => 'lost' as const,
  );
}

test('a name that was found is looked up at once, however many others are silent', async () => {
  const { asked, resolve } = openSystem();
  const first = timeOf(resolve('tool.test'));
  await vi.advanceTimersByTimeAsync(10);
  expect(await first).toBe(10);
  const silent = Array.from({ length: 12 }, (_, at) => timeOf(resolve(`silent${at}.test`)));
  const known = timeOf(resolve('tool.test'));
  const unknown = timeOf(resolve('other.test'));
  await vi.advanceTimersByTimeAsync(silentMs);
  expect([await known, await unknown, new Set(await Promise.all(silent))]).toEqual([10, 'lost', new Set(['lost'])]);
  // For those that waited too long nobody waits any more, and they hold up no other.
  expect(asked.toSorted()).toEqual(['silent0.test', 'tool.test', 'tool.test']);
  const later = timeOf(resolve('other.test'));
  await vi.advanceTimersByTimeAsync(10);
  expect(await later).toBe(10);
});

test('one that is found no more has no place of its own any more', async () => {
  let isThere = true;
  const look = vi.fn((host: string) => (isThere ? Promise.resolve([host]) : Promise.reject(new Error('gone'))));
  const resolve = knownFirst(look, () => performance.now());
  await resolve('a.test');
  isThere = false;
  await expect(resolve('a.test')).rejects.toThrow('gone');
  look.mockReturnValueOnce(new Promise(() => undefined));
  void resolve('b.test');
  void resolve('a.test').catch(() => undefined);
  await vi.advanceTimersByTimeAsync(1000);
  expect(look.mock.calls.map(([host]) => host)).toEqual(['a.test', 'a.test', 'b.test']);
});
