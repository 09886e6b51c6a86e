import { inspect } from 'node:util';
import { expect, test } from 'vitest';
import { IssuedToken } from '../../proxy/exchange/issued-token.ts';
import { makeTokenOrder } from '../../proxy/exchange/token-order.ts';
import { Secret } from '../../proxy/trust/secret.ts';

const text = 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLXNpZ25hdHVyZQ';

test('W8: a token shows its id and nothing of its text, however it is printed', () => {
  const token = new IssuedToken({
    text,
    service: 'corp',
    audience: ['crm'],
    scopes: ['crm.read'],
    tokenType: 'Bearer',
    expiresAtMs: 2000,
    validUntilMs: 3000,
    issuedAtMs: 1000,
  });
  const printed = [
    inspect(token, { showHidden: true, depth: 9 }),
    JSON.stringify({ token }),
    String(token),
    Object.values(token).join(),
  ].join();
  for (const part of text.split('.')) expect(printed).not.toContain(part.slice(0, 16));
  expect(printed).toContain(token.id);
  expect(token.id).toMatch(/^[0-9a-f]{16}$/);
  expect([token.headers()[1], token.reveal()]).toEqual([`Bearer ${text}`, text]);
});

test('W8: an order shows nothing of its subject token', () => {
  const order = makeTokenOrder({
    txn: 't',
    tool: 'crm',
    toolOrigin: 'https://crm.example.org',
    service: 'corp',
    issuer: 'https://sso.example.org',
    grant: 'token_exchange',
    subject: { token: new Secret(text), tokenType: 'x', iss: 'i', sub: 'alice', expiresAtMs: 1 },
    audience: ['crm'],
    useForMs: 1000,
  });
  const printed = inspect(order, { showHidden: true, depth: 9 }) + JSON.stringify(order);
  for (const part of text.split('.')) expect(printed).not.toContain(part.slice(0, 16));
});

test('an exchange without a subject is not an order', () => {
  const parts = { txn: 't', tool: 'c', toolOrigin: 'o', service: 's', issuer: 'i', audience: [], useForMs: 1 };
  expect(() => makeTokenOrder({ ...parts, grant: 'token_exchange' })).toThrow('subject');
});
