import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { serviceProfiles } from '../../config/service-profiles.ts';
import {
  accessTokenType,
  exchangeParameters,
  jwtTokenType,
  tokenExchangeGrant,
} from '../../proxy/exchange/issuers/rfc8693.ts';
import { checkAnswer } from '../../proxy/exchange/check-answer.ts';
import { Rejection } from '../../proxy/exchange/rejection.ts';
import { readFailure } from '../../proxy/exchange/service-refusal.ts';
import { tokenKinds } from '../../proxy/exchange/token-kinds.ts';
import type { OrderSubject } from '../../proxy/exchange/token-order.ts';
import { Refusal } from '../../proxy/refusal.ts';
import { mayAct, readActors } from '../../proxy/trust/act-claim.ts';
import { Secret } from '../../proxy/trust/secret.ts';

const file = join(import.meta.dirname, '..', '..', '..', 'shared', 'vectors', 'rfc8693.json');

interface Vectors {
  readonly tokenTypes: readonly string[];
  readonly requestParams: readonly string[];
  readonly errors: readonly string[];
  readonly responseParams: readonly string[];
  readonly examples: readonly { request: Readonly<Record<string, string>> }[];
  readonly actChain: { readonly act: unknown };
  readonly act: { readonly act: unknown };
  readonly mayAct: { readonly may_act: unknown };
}

const vectors = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Vectors) : undefined;

function subject(text: string, tokenType: string): OrderSubject {
  return { token: new Secret(text), tokenType, iss: 'https://sso.example.org', sub: 'alice', expiresAtMs: 0 };
}

test('a request holds the parameters of the standard, each as often as it may', ({ skip }) => {
  if (vectors === undefined) {
    skip('vectors not present');
    return;
  }
  const target = { audience: ['a', 'b'], resource: 'https://crm.example.org', scopes: ['x', 'y'] };
  const actor = { token: new Secret('actor'), tokenType: jwtTokenType };
  const known = new Map(vectors.requestParams.map((name) => [name.replace(/[*! ].*$/, ''), name]));
  const full = exchangeParameters(target, subject('subject', accessTokenType), actor);
  for (const name of full.keys()) {
    expect(known.has(name)).toBe(true);
    if (!known.get(name)!.includes('*')) expect(full.getAll(name)).toHaveLength(1);
  }
  const required = [...known].filter(([, text]) => text.endsWith('!')).map(([name]) => name);
  expect(required.every((name) => full.has(name))).toBe(true);
  expect(vectors.tokenTypes).toEqual(expect.arrayContaining([accessTokenType, jwtTokenType]));
  const least = exchangeParameters(
    { audience: [], resource: undefined, scopes: [] },
    subject('s', jwtTokenType),
    undefined,
  );
  expect([...least.keys()].toSorted()).toEqual(['requested_token_type', 'subject_token', 'subject_token_type']);
});

test('the example of the standard is what we would send', ({ skip }) => {
  if (vectors === undefined) {
    skip('vectors not present');
    return;
  }
  for (const { request } of vectors.examples) {
    const { grant_type, resource, subject_token, subject_token_type, ...others } = request;
    const form = exchangeParameters(
      { audience: [], resource, scopes: undefined },
      subject(subject_token!, subject_token_type!),
      undefined,
    );
    expect([grant_type, others]).toEqual([tokenExchangeGrant, {}]);
    // One more than the example: we always say that we want an access token.
    form.delete('requested_token_type');
    expect(Object.fromEntries(form)).toEqual({ resource, subject_token, subject_token_type });
  }
});

test('the actors of the standard are read, the current one first', ({ skip }) => {
  if (vectors === undefined) {
    skip('vectors not present');
    return;
  }
  const subs = (act: unknown): string[] => readActors(act).map(({ sub }) => sub);
  expect(subs(vectors.actChain.act)).toEqual(['https://service16.example.com', 'https://service77.example.com']);
  expect(subs(vectors.act.act)).toEqual(['admin@example.com']);
  expect(mayAct(vectors.mayAct.may_act, [{ sub: 'admin@example.com' }])).toBe(true);
  expect(mayAct(vectors.mayAct.may_act, [{ sub: 'user@example.com' }])).toBe(false);
});

test('every error of the standard ends the exchange with a refusal of ours, and none with its text', ({ skip }) => {
  if (vectors === undefined) {
    skip('vectors not present');
    return;
  }
  const { dialect } = serviceProfiles.rfc8693;
  for (const error of vectors.errors) {
    const body = JSON.stringify({ error, error_description: 'what was sent', error_uri: 'https://x' });
    const headers = { 'content-type': 'application/json' };
    const refusal = readFailure({ status: 400, headers, body }, 'corp', tokenExchangeGrant, dialect);
    expect(refusal).toBeInstanceOf(Refusal);
    expect(refusal.message).not.toContain('what was sent');
  }
});

test('what the standard requires of an answer is required', async ({ skip }) => {
  if (vectors === undefined) {
    skip('vectors not present');
    return;
  }
  const answer = { access_token: 'abc', issued_token_type: accessTokenType, token_type: 'Bearer', expires_in: 60 };
  const read = (json: Record<string, unknown>) =>
    checkAnswer(
      { json, token: json['access_token'] === undefined ? undefined : new Secret('abc'), echoed: false },
      { grant: 'token_exchange', proofKey: undefined },
      {
        form: tokenKinds.access_token,
        issuer: 'https://sso.example.org',
        scopes: undefined,
        details: undefined,
        maxLifetimeMs: 3_600_000,
      },
    );
  await expect(read(answer)).resolves.toMatchObject({ tokenType: 'Bearer' });
  const required = vectors.responseParams
    .map((name) => /^\w+(?=!)/.exec(name)?.[0])
    .filter((name) => name !== undefined);
  expect(required).toHaveLength(3);
  for (const name of required) await expect(read({ ...answer, [name]: undefined })).rejects.toBeInstanceOf(Rejection);
});
