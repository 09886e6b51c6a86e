import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { txnTokenOrder } from '../../proxy/exchange/issuers/txn-token.ts';
import { exchangeParameters, tokenExchangeGrant } from '../../proxy/exchange/issuers/rfc8693.ts';
import { tokenKinds } from '../../proxy/exchange/token-kinds.ts';
import type { OrderSubject } from '../../proxy/exchange/token-order.ts';
import { Refusal } from '../../proxy/refusal.ts';
import { IssuerMetadata } from '../../proxy/trust/issuer-metadata.ts';
import { JwksCache } from '../../proxy/trust/jwks.ts';
import { Secret } from '../../proxy/trust/secret.ts';
import { InboundTxnTokens } from '../../proxy/verify/inbound-txn-token.ts';
import { shiftedWorld } from '../fakes/token-desk.ts';
import { makeKey, signJws } from '../stage/signing-key.ts';

const file = join(import.meta.dirname, '..', '..', '..', 'shared', 'vectors', 'txn-token.json');

interface Vectors {
  readonly header: { readonly alg: string; readonly kid: string; readonly typ: string };
  readonly claims: Readonly<Record<string, unknown>> & {
    readonly iat: number;
    readonly exp: number;
    readonly aud: string;
  };
  readonly required: readonly string[];
  readonly request: Readonly<Record<string, unknown>>;
  readonly response: { readonly issued_token_type: string };
  readonly receiverCases: readonly { readonly name: string; readonly accept: boolean }[];
}

const vectors = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Vectors) : undefined;

type Sent = { claims?: Record<string, unknown>; header?: Record<string, unknown>; twice?: boolean };

/** What each case of the draft sends. Cases that are told elsewhere name where. */
const cases: Readonly<Record<string, readonly Sent[] | 'process' | 'never'>> = {
  valid: [{}],
  'typ at+jwt or JWT': [{ header: { typ: 'at+jwt' } }, { header: { typ: 'JWT' } }],
  'aud other trust domain': [{ claims: { aud: 'other.example' } }],
  expired: [{ claims: { iat: 1686535000, exp: 1686536000 } }],
  'two Txn-Token headers or comma-joined values': [{ twice: true }],
  'scope of subject token unknown': [{ claims: { scope: undefined } }],
  // test/promises/a-transaction-is-carried-on-unchanged.test.ts and a-transaction-token-ends-at-the-border.test.ts
  'sent in Authorization': 'process',
  'txn seen before at this workload (strict single-use mode)': 'process',
  'response with refresh_token': 'process',
  // We replace none: the test below.
  'replacement changes txn, sub or aud': 'never',
  'replacement widens scope': 'never',
  'replacement of an expired token': 'never',
};

async function receiver(given: Vectors) {
  const key = await makeKey(given.header.alg);
  const published = { keys: [{ ...key.jwk, kid: given.header.kid, alg: given.header.alg, use: 'sig' }] };
  const call = async () => ({
    status: 200,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(published),
  });
  const world = shiftedWorld();
  world.aheadMs = (given.claims.iat + 1) * 1000 - Date.now();
  const accepted = {
    audience: given.claims.aud,
    jwks_uri: 'https://tts.trust-domain.example/keys',
    require: true,
    once: false,
    sub: 'same',
    // The example lives 360 s.
    max_lifetime: 360_000,
  } as const;
  const tokens = new InboundTxnTokens(accepted, new JwksCache(world, call), new IssuerMetadata(world, call), world);
  return async ({ claims, header, twice }: Sent): Promise<boolean> => {
    const text = signJws({ ...given.header, ...header }, { ...given.claims, ...claims }, key);
    try {
      const token = await tokens.read(twice === true ? `${text}, ${text}` : text, String(given.claims['sub']));
      return token?.txn === given.claims['txn'];
    } catch (error) {
      if (error instanceof Refusal) return false;
      throw error;
    }
  };
}

test('every case of the draft is decided as it says', async ({ skip }) => {
  if (vectors === undefined) {
    skip('vectors not present');
    return;
  }
  expect(vectors.receiverCases.map(({ name }) => name).toSorted()).toEqual(Object.keys(cases).toSorted());
  const accepts = await receiver(vectors);
  for (const { name, accept } of vectors.receiverCases) {
    const sent = cases[name];
    if (!Array.isArray(sent)) continue;
    for (const one of sent as readonly Sent[]) expect([name, await accepts(one)]).toEqual([name, accept]);
  }
});

test('every required claim is required, and the optional ones are optional', async ({ skip }) => {
  if (vectors === undefined) {
    skip('vectors not present');
    return;
  }
  const accepts = await receiver(vectors);
  for (const name of vectors.required)
    expect([name, await accepts({ claims: { [name]: undefined } })]).toEqual([name, false]);
  for (const name of ['tctx', 'rctx']) expect(await accepts({ claims: { [name]: undefined } })).toBe(true);
});

test('the request is that of the draft, and a transaction token is never handed in to be replaced', ({ skip }) => {
  if (vectors === undefined) {
    skip('vectors not present');
    return;
  }
  const { request } = vectors;
  const settings = {
    from: 'tts',
    audience: String(request['audience']),
    scope: [String(request['scope'])],
    request_context: request['request_context'] as Record<string, string>,
    request_details: request['request_details'] as Record<string, string>,
  };
  const subject = (tokenType: string): OrderSubject => ({
    token: new Secret('<jwt>'),
    tokenType,
    iss: 'https://sso.example.org',
    sub: 'alice',
    expiresAtMs: Date.now() + 60_000,
  });
  const order = (tokenType: string) =>
    txnTokenOrder(settings, {
      txn: 'txn-1',
      tool: 'inside',
      toolOrigin: 'https://inside.trust-domain.example',
      issuer: 'https://tts.trust-domain.example',
      subject: subject(tokenType),
    });
  const asked = order(String(request['subject_token_type']));
  const form = exchangeParameters(asked, asked.subject ?? subject(''), undefined, asked.kind);
  for (const [name, value] of Object.entries(asked.parameters ?? {})) form.set(name, value);
  expect({ grant_type: tokenExchangeGrant, ...Object.fromEntries(form) }).toEqual({
    ...request,
    request_context: JSON.stringify(request['request_context']),
    request_details: JSON.stringify(request['request_details']),
  });
  expect(tokenKinds.txn_token.type).toBe(vectors.response.issued_token_type);
  for (const name of ['txn_token', 'refresh_token'])
    expect(() => order(`urn:ietf:params:oauth:token-type:${name}`)).toThrow(Refusal);
});
