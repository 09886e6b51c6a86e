import { expect, test } from 'vitest';
import { makeTokenOrder, type TokenOrderParts } from '../../proxy/exchange/token-order.ts';
import { Secret } from '../../proxy/trust/secret.ts';

const parts: TokenOrderParts = {
  txn: 'txn-1',
  tool: 'crm',
  toolOrigin: 'https://crm.example.org',
  service: 'corp',
  issuer: 'https://sso.example.org',
  grant: 'token_exchange',
  subject: { token: new Secret('t'), tokenType: 'jwt', iss: 'https://sso.example.org', sub: 'alice', expiresAtMs: 1 },
  audience: ['crm'],
  useForMs: 60_000,
};

const others: readonly Partial<TokenOrderParts>[] = [
  {},
  { tool: 'mail' },
  { grant: 'jwt_bearer' },
  { grant: 'id_jag', grantedBy: { service: 'idp', issuer: 'https://idp.example.org' } },
  { grant: 'id_jag', grantedBy: { service: 'idp', issuer: 'https://other.example.org' } },
  { grant: 'id_jag', grantedBy: { service: 'idp2', issuer: 'https://idp.example.org' } },
  { kind: 'jwt' },
  { kind: 'id_jag' },
  { assertion: 'subject' },
  { assertion: 'workload' },
  { clientId: 'agent' },
  { details: [{ type: 'ticket' }] },
  { details: [{ type: 'ticket', actions: ['read'] }] },
  { details: [{ type: 'ticket', actions: ['write'] }] },
];

test('W4: orders that differ in one thing share no token', () => {
  const keys = others.map((other) => makeTokenOrder({ ...parts, ...other }).key);
  expect(new Set(keys).size).toBe(others.length);
  expect(makeTokenOrder({ ...parts, kind: 'access_token' }).key).toBe(keys[0]);
});

test('an order on behalf of somebody names whom', () => {
  for (const grant of ['token_exchange', 'jwt_bearer', 'id_jag', 'identity_chaining'] as const)
    expect(() => makeTokenOrder({ ...parts, grant, subject: undefined })).toThrow('needs a subject');
  expect(makeTokenOrder({ ...parts, grant: 'jwt_bearer', assertion: 'workload', subject: undefined }).key).not.toBe('');
});
