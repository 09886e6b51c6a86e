import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { formatChain } from '../../proxy/delegation/chain.ts';
import type { Authority } from '../../proxy/embedded/authority.ts';
import { linkAt, linksAlong, openHops } from '../stage/chain-maker.ts';
import { certificateOf, tlsCaller } from '../stage/tls-caller.ts';
import { openDomain, openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

/** Their chains take 56 MB together: with all else (50 MB), more than this. */
const requests = 4000;
const heapMiB = 84;
let authority: Authority;
let stage: WayInStage;

beforeAll(async () => {
  authority = await openDomain();
  vi.stubEnv('NODE_OPTIONS', `--max-old-space-size=${heapMiB}`);
  stage = await openWayIn({
    authority,
    origin: 'https://agent.example.org',
    inbound: (issuer) => ({ accept: [{ issuer, proof: 'mtls' }], chain: { max_bytes: 16_384 } }),
    sections: { tasks: { linger: '0s' } },
  });
  vi.unstubAllEnvs();
});
afterAll(() => stage?.close());

test('what was answered is remembered without its chain', { timeout: 120_000 }, async () => {
  const client = certificateOf(await authority.issueX509('spiffe://example.org/b', 3600));
  const token = await stage.to.mint({ sub: 'alice', cnf: { 'x5t#S256': client.x5t } });
  const subject = { iss: stage.service.issuer, sub: 'alice' };
  const errand = { subject, resource: stage.origin, jkt: 'A'.repeat(43) };
  const hops = await openHops(authority, 'a', 'b');
  const [first = ''] = linksAlong(hops, errand);
  // Each request of an agent that works for many is of another task there.
  const more = { exp: Math.floor(Date.now() / 1000) + 200, more: 'x'.repeat(8000) };
  const sendAll = async (name: number): Promise<void> => {
    const caller = await tlsCaller(stage, client);
    for (let at = 0; at < requests / 8; at += 1) {
      const chain = formatChain([first, linkAt(hops, 1, first, { ...errand, txn: `${name}-${at}` }, more)]);
      const answer = await caller.send({ path: '/x', token, scheme: 'Bearer', proof: null, chain });
      expect([answer.status, answer.code]).toEqual([200, undefined]);
    }
  };
  await Promise.all(Array.from({ length: 8 }, (_, name) => sendAll(name)));
});
