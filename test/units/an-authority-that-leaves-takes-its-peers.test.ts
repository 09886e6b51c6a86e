import { expect, test } from 'vitest';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { checkPeer } from '../../proxy/verify/peer.ts';
import { bundleOf } from '../fakes/trust-bundle.ts';

test('a certificate on an open connection counts while the authority that signed it is in the bundle', async () => {
  const [authority, next] = [await openAuthority('example.org'), await openAuthority('example.org')];
  const { chainDer } = await authority.issueX509('spiffe://example.org/planner', 3600);
  const [old, young] = [authority.bundle().x509Der, next.bundle().x509Der];
  const certificate = { chain: [chainDer] };
  const peerWith = (bundle: readonly Buffer[] | undefined): string | undefined =>
    checkPeer(certificate, () => bundle && bundleOf(...bundle), Date.now())?.spiffeId;
  const refused = 'caller_not_allowed';
  expect(peerWith([old])).toBe('spiffe://example.org/planner');
  // While authorities change, both are there.
  expect(peerWith([young, old])).toBe('spiffe://example.org/planner');
  expect(() => peerWith([young])).toThrow(refused);
  expect(() => peerWith([])).toThrow(refused);
  expect(() => peerWith(undefined)).toThrow(refused);
  expect(peerWith([old])).toBe('spiffe://example.org/planner');
});
