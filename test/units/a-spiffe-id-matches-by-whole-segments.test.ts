import { expect, test } from 'vitest';
import { InvalidSpiffeId, SpiffeId } from '../../proxy/spiffe/spiffe-id.ts';

test.each([
  ['spiffe://example.org/agent', 'spiffe://example.org/agent', true],
  ['spiffe://example.org/agent/one', 'spiffe://example.org/agent', true],
  ['spiffe://example.org/agent', 'spiffe://example.org', true],
  ['spiffe://example.org/agent2', 'spiffe://example.org/agent', false],
  ['spiffe://example.org/agent', 'spiffe://example.org/agent/one', false],
  ['spiffe://example.org/Agent', 'spiffe://example.org/agent', false],
  ['spiffe://example.org.evil/agent', 'spiffe://example.org', false],
  ['spiffe://sub.example.org/agent', 'spiffe://example.org', false],
])('%s is within %s: %s', (id, ancestor, expected) => {
  expect(SpiffeId.parse(id).isWithin(SpiffeId.parse(ancestor))).toBe(expected);
});

test('two IDs are equal when their texts are', () => {
  const id = SpiffeId.parse('spiffe://example.org/agent');
  expect(id.equals(SpiffeId.parse('spiffe://example.org/agent'))).toBe(true);
  expect(id.equals(SpiffeId.parse('spiffe://example.org/agent2'))).toBe(false);
});

test('a workload has a path and a trust domain has none', () => {
  expect(() => SpiffeId.parseWorkload('spiffe://example.org')).toThrow(new InvalidSpiffeId('path-missing'));
  expect(() => SpiffeId.parseTrustDomain('spiffe://example.org/agent')).toThrow(new InvalidSpiffeId('path-present'));
  expect(SpiffeId.parseWorkload('spiffe://example.org/agent').path).toBe('/agent');
  expect(SpiffeId.parseTrustDomain('spiffe://example.org').trustDomain).toBe('example.org');
});

test('the longest IDs are read, one byte more is refused', () => {
  const prefix = `spiffe://${'a'.repeat(255)}/`;
  expect(SpiffeId.parse(prefix + 'b'.repeat(2048 - prefix.length)).toString()).toHaveLength(2048);
  expect(() => SpiffeId.parse(prefix + 'b'.repeat(2049 - prefix.length))).toThrow('too-long');
  expect(() => SpiffeId.parse(`spiffe://${'a'.repeat(256)}`)).toThrow('trust-domain-too-long');
});
