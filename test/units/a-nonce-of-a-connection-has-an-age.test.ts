import { afterEach, expect, test } from 'vitest';
import { tool as toolTable } from '../../config/tools.ts';
import { ToolTls } from '../../proxy/forward/tool-tls.ts';
import { Upstreams } from '../../proxy/forward/upstream.ts';
import { originOf } from '../../proxy/intercept/origin.ts';
import { buildToolCatalogue, type Tool } from '../../proxy/intercept/tool-catalogue.ts';
import { realWorld } from '../../proxy/world.ts';

/** Monotonic milliseconds. */
let clock = 0;
const world = { ...realWorld([]), monotonic: () => clock };
const nobody = { svid: () => undefined, authoritiesOf: () => undefined };
const upstreams = new Upstreams(world, new ToolTls(nobody, world, () => undefined));
const origin = originOf('http', 'crm.test', 80);
const way = { address: '127.0.0.1', port: 9, kind: 'loopback' } as const;
afterEach(() => upstreams.close());

function crm(): Tool {
  const settings = toolTable.parse({ match: { host: 'crm.test' }, addresses: 'loopback' });
  const [tool] = buildToolCatalogue(new Map([['crm', { ...settings, name: 'crm' }]])).tools;
  return tool!;
}

test('a nonce is fresh for as long as is asked for, from when it came, by the clock that nobody sets', () => {
  clock = 1_000_000;
  const lease = upstreams.take(crm(), origin, way);
  expect([lease.hasNonceOf(50_000), lease.nonce]).toEqual([false, undefined]);
  lease.keepNonce('first');
  const ages = [0, 49_999, 50_000, 50_001, 3_600_000];
  const fresh = ages.map((age) => {
    clock = 1_000_000 + age;
    return lease.hasNonceOf(50_000);
  });
  expect(fresh).toEqual([true, true, true, false, false]);
  // Too old to be relied on, and still the newest that there is.
  expect(lease.nonce).toBe('first');
  lease.keepNonce('second');
  expect([lease.hasNonceOf(50_000), lease.hasNonceOf(0)]).toEqual([true, true]);
});

test('a nonce and its age go with the connection, to whoever has it next', () => {
  const tool = crm();
  clock = 0;
  const first = upstreams.take(tool, origin, way);
  first.keepNonce('kept');
  first.giveBack();
  clock = 50_000;
  const next = upstreams.take(tool, origin, way);
  expect([next.nonce, next.hasNonceOf(50_000)]).toEqual(['kept', true]);
  const other = upstreams.take(tool, origin, way);
  expect([other.nonce, other.hasNonceOf(Infinity)]).toEqual([undefined, false]);
  clock = 50_001;
  expect(next.hasNonceOf(50_000)).toBe(false);
});
