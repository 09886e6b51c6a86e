import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { killRemaining, runWaybill } from '../stage/command-line.ts';

const dir = mkdtempSync(join(tmpdir(), 'waybill-expect-'));
const file = join(dir, 'waybill.yaml');

afterAll(() => {
  killRemaining();
  rmSync(dir, { recursive: true });
});

const client = 'client_auth: client_secret_basic, client_id: a, client_secret_file: /run/s';
const configOf = (service: string, token = 'from: s, audience: t', more = ''): string => `version: 1
agent: { name: a }
trust: { issuers: [{ issuer: "https://s.example.org", audience: a }] }
token_services:
  s: { issuer: "https://s.example.org", ${client}, ${service} }
  other: { issuer: "https://o.example.org", ${client} }
rules: [{ name: all, effect: allow, when: "true" }]
tools: { t: { match: { host: t.example.org }, token: { ${token} }${more} } }
`;

async function validate(text: string) {
  writeFileSync(file, text);
  const { code, stdout } = await runWaybill(['validate', '--json', '--config', file]);
  const { errors, warnings } = JSON.parse(stdout) as {
    readonly errors: readonly { readonly path: string; readonly message: string }[];
    readonly warnings?: readonly string[];
  };
  const ofService = warnings?.filter((warning) => /^(?:\d+:\d+: )?token_services\.s/.test(warning));
  return { code, errors: errors.map(({ path, message }) => `${path}: ${message}`), warnings: ofService };
}

const blind = 'is not compared with `verify: response-only`';

test.each([
  ['the subject', 'verify: response-only, expect: { sub: same }', `expect.sub: ${blind}`],
  ['no actor', 'verify: response-only, expect: { act: none }', `expect.act: ${blind}`],
  ['us as actor', 'verify: response-only, expect: { act: self }', `expect.act: ${blind}`],
  ['the header', 'verify: response-only, expect: { typ: [at+jwt] }', `expect.typ: ${blind}`],
  ['a header that is not told', 'verify: introspect, expect: { typ: [JWT] }', 'expect.typ: is not compared with'],
])('W5: whoever expects %s of a token that nobody reads is told so', async (_name, service, expected) => {
  for (const from of ['s', '[other, s]']) {
    const told = await validate(configOf(service, `from: ${from}, audience: t`));
    const warning = expect.stringMatching(new RegExp(`^5:\\d+: token_services\\.s\\.${RegExp.escape(expected)}`));
    expect(told).toEqual({ code: 0, errors: [], warnings: [warning] });
  }
});

test('what is compared may be expected, and so may be what says that nothing is', async () => {
  for (const service of [
    'verify: response-only, expect: { sub: any, act: any, scopes: asked, life: refuse }',
    'verify: introspect, expect: { sub: same, act: none }',
  ])
    expect(await validate(configOf(service))).toMatchObject({ code: 0, warnings: [] });
  // A transaction token is a signed JWT whatever its service gives beside it.
  const txn = ', trust_domain: inside, txn_token: { from: s, audience: td, scope: [a] }';
  const asked = configOf('verify: response-only, expect: { sub: same }', 'from: other, audience: t', txn);
  expect(await validate(asked)).toMatchObject({ code: 0, warnings: [] });
});

test('an actor that no request names is told, and a kind of token that none asks for is refused', async () => {
  const told = 'token_services.s.actor: no tool exchanges a token here';
  for (const [service, grant, warnings] of [
    ['profile: entra-obo, actor: client_credentials', '', [expect.stringContaining(told)]],
    ['actor: client_credentials', ', grant: jwt_bearer', [expect.stringContaining(told)]],
    ['actor: client_credentials', '', []],
    ['profile: entra-obo, actor: client_credentials', ', grant: token_exchange', []],
  ] as const)
    expect(await validate(configOf(service, `from: s, audience: t${grant}`))).toMatchObject({ code: 0, warnings });
  const { errors } = await validate(configOf('profile: entra-obo', 'from: s, audience: t, requested_token_type: jwt'));
  expect(errors).toEqual([expect.stringContaining('only with `grant: token_exchange`')]);
});
