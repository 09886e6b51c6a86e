import { expect, test } from 'vitest';
import type { Refusal } from '../../proxy/refusal.ts';
import { InboundTokens } from '../../proxy/verify/inbound-token.ts';
import { realWorld } from '../../proxy/world.ts';

const issuer = 'https://sso.example.org';
const start = Date.now();

/** Tokens of one issuer that is asked about each, at a time that the test turns. */
function openTokens() {
  const state = { now: start, isActive: true, asked: 0, verified: 0 };
  const accepted = {
    resource: 'https://agent.example.org',
    issuers: new Map([[issuer, 'dpop' as const]]),
    presenters: new Map(),
    introspection: new Map([[issuer, 'corp']]),
    trustDomains: new Set<string>(),
  };
  const ports = {
    accessTokens: {
      verifyAccessToken: async () => {
        state.verified += 1;
        return { iss: issuer, sub: 'alice', expiresAtMs: start + 60_000, cnf: { jkt: 'x' }, typ: 'at+jwt', claims: {} };
      },
    },
    jwtBundleOf: () => undefined,
    isActive: async () => {
      state.asked += 1;
      return state.isActive;
    },
  };
  return { state, tokens: new InboundTokens(accepted, ports, { ...realWorld([]), now: () => state.now }) };
}

const saying = (reason: string): Refusal =>
  expect.objectContaining({
    code: 'token_invalid',
    detail: `The access token is not valid here (${reason}).`,
  }) as Refusal;

test('what its service said a moment ago counts, and costs nothing', async () => {
  const { state, tokens } = openTokens();
  const token = await tokens.verify('a.b.c');
  state.now += 29_000;
  state.isActive = false;
  expect(tokens.again(token)).toBe(token);
  expect([state.asked, state.verified]).toEqual([1, 1]);
});

test('after that it is asked again, and its no ends the request', async () => {
  const { state, tokens } = openTokens();
  const token = await tokens.verify('a.b.c');
  state.now += 31_000;
  expect(await tokens.again(token)).toBe(token);
  state.isActive = false;
  state.now += 28_000;
  expect(tokens.again(token)).toBe(token);
  state.now += 3000;
  expect(() => tokens.again(token)).toThrow(saying('expired'));
  expect([state.asked, state.verified]).toEqual([2, 1]);
});

test('a token that another request found revoked is over for this one too', async () => {
  const { state, tokens } = openTokens();
  const token = await tokens.verify('a.b.c');
  state.now += 31_000;
  state.isActive = false;
  await expect(Promise.resolve(tokens.verify('a.b.c'))).rejects.toThrow(saying('revoked'));
  expect(() => tokens.again(token)).toThrow(saying('revoked'));
  state.now += 20_000;
  expect(() => tokens.again(token)).toThrow(saying('revoked'));
});
