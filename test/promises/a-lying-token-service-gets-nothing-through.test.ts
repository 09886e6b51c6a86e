import { beforeAll, describe, expect, test } from 'vitest';
import { answerLies, claimLies, memberLies, type Lie } from '../fakes/token-service-lies.ts';
import { tellLies, type LyingRun, type Told } from '../stage/lying-run.ts';
import { findSecrets } from '../stage/secret-scan.ts';
import { tries } from '../stage/tries.ts';

/** Lies that only a token with a proof key can be told about. */
const boundLies: ReadonlySet<Lie> = new Set(['missing_cnf', 'other_cnf', 'bearer', 'nonce_for_ever']);

/** What an answer may leave out, since the token says it. */
const harmless: ReadonlySet<string> = new Set(['no_expires_in', 'no_scope']);

/** Answers that are not the token that was asked for: 502, recorded as rejected. */
const rejected: readonly Lie[] = [
  ...'html html_with_json garbage json_list empty_body no_content huge redirect'.split(' '),
  ...Object.keys(memberLies).filter((lie) => !harmless.has(lie)),
  ...Object.keys(claimLies),
  ...'foreign_key unsigned id_token_typ no_typ opaque echo_subject'.split(' '),
];
/** What the service says of the request (403), and of itself (503). */
const refused: Readonly<Record<string, string>> = {
  invalid_grant: 'grant_dead',
  invalid_scope: 'exchange_refused',
  invalid_target: 'exchange_refused',
  unauthorized_client: 'exchange_refused',
  access_denied: 'exchange_refused',
  unknown_error: 'exchange_refused',
  forbidden_page: 'exchange_refused',
  exchange_off: 'exchange_refused',
  audience_unavailable: 'exchange_refused',
  nonce_for_ever: 'exchange_refused',
};
const absent: readonly Lie[] =
  'invalid_client bad_assertion wrong_secret no_audience unavailable broken throttled slow trickle reset half'.split(
    ' ',
  );
/** RFC 8693 2.2.2 has one code for a subject token that is not acceptable and for other faults of the request. */
const either: readonly Lie[] = ['invalid_request'];
/** Told of by another test, since the whole service pauses then. */
const elsewhere: readonly Lie[] = ['rate_limited', 'rate_limited_long'];

const all = [...rejected, ...Object.keys(refused), ...absent, ...either];
let run: LyingRun;

beforeAll(async () => {
  run = await tellLies(all, boundLies);
}, 60_000);

function told(lie: Lie): Told {
  const found = run.told.get(lie);
  if (found === undefined) throw new Error(`not told: ${lie}`);
  return found;
}

test('the table of lies is complete', () => {
  const known = [answerLies, memberLies, claimLies].flatMap((lies) => Object.keys(lies));
  expect(known.filter((lie) => !harmless.has(lie) && ![...all, ...elsewhere].includes(lie))).toEqual([]);
  expect(run.told.size).toBe(new Set(all).size);
});

describe('W5: an answer that is not what was asked for is refused, recorded and taken back', () => {
  test.for(rejected)('%s', (lie) => {
    const { first, txn, issued, asked } = told(lie);
    expect([first.status, first.code]).toEqual([502, 'token_rejected']);
    expect(JSON.parse(first.body)).toMatchObject({ status: 502, retryable: false });
    expect(first.headers['retry-after']).toBeUndefined();
    expect(asked[0]).toBe(1);
    const events = run.events.filter((event) => event.event === 'token.rejected' && event['txn'] === txn);
    expect(events).toMatchObject([{ service: 'corp', tool: boundLies.has(lie) ? 'bound' : 'crm' }]);
    expect(String(events[0]?.['cause'])).toMatch(/^[a-z_]+$/);
    // What was issued must not stay good; what was only handed back to us, or cannot be sent as a token, is not ours to revoke.
    const unusable = ['missing_access_token', 'empty_access_token', 'header_injection', 'echo_subject'].includes(lie);
    for (const token of issued) expect(run.revoked.includes(token)).toBe(!unusable);
    // The honest token of the end is taken back too, when the sidecar stops and its task fails.
    const revocations = run.events.filter((event) => event.event === 'token.revoked' && event['txn'] === txn);
    const causes = revocations.map(({ cause }) => cause).filter((cause) => cause !== 'failed');
    expect(causes).toEqual(unusable || issued.length === 0 ? [] : ['token_rejected']);
  });

  test('each is counted, and the counter is there from the start', () => {
    expect(run.metrics).toContain(
      `waybill_exchanges_total{service="corp",outcome="token_rejected"} ${rejected.length}\n`,
    );
  });
});

describe('W1: a service that says no, or nothing, lets nothing through, and the answer says whether to try again', () => {
  test.for(Object.entries(refused))('%s is 403 %s', ([lie, code]) => {
    const { first } = told(lie);
    expect([first.status, first.code]).toEqual([403, code]);
    expect(JSON.parse(first.body)).toMatchObject({ status: 403, retryable: false });
    expect(first.headers['retry-after']).toBeUndefined();
  });

  test.for(either)('%s is a 403', (lie) => {
    expect(told(lie).first.status).toBe(403);
  });

  test.for(absent)('%s is 503 with Retry-After, within the time-out', tries, (lie) => {
    const { first, firstMs } = told(lie);
    expect([first.status, first.code]).toEqual([503, 'token_service_unavailable']);
    expect(JSON.parse(first.body)).toMatchObject({ status: 503, retryable: true });
    expect(Number(first.headers['retry-after'])).toBeGreaterThanOrEqual(1);
    expect(firstMs).toBeLessThan(1500);
  });

  test('never is there a 401, which would send a client looking for a credential', () => {
    expect([...run.told.values()].filter(({ first, second }) => [first.status, second.status].includes(401))).toEqual(
      [],
    );
  });
});

describe('W4: nothing of a lie is cached', () => {
  test.for(all)('%s: the next call is refused alike without asking, and later ones get an honest token', (lie) => {
    const { first, second, asked, after, askedAfter, issued } = told(lie);
    expect([second.status, second.code, asked[1]]).toEqual([first.status, first.code, 0]);
    expect([after.status, askedAfter]).toEqual([200, 1]);
    for (const token of issued) expect(run.used.some((header) => header.endsWith(` ${token}`))).toBe(false);
  });
});

test('W3: while the service lied, no tool was called or connected to', () => {
  expect(run.reached).toBe(0);
  expect(run.used.length).toBe(all.length);
});

test('W8: what the service was sent, issued or quoted is in no answer, event, metric, log or in /proc', () => {
  expect(run.secrets.length).toBeGreaterThan(all.length * 3);
  expect(findSecrets(run.secrets, run.leftovers)).toEqual([]);
  expect(run.leftovers.filter(({ bytes }) => bytes.includes('you sent') || bytes.includes('x-injected'))).toEqual([]);
}, 60_000);
