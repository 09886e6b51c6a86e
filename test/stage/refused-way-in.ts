import { expect } from 'vitest';
import type { RecordedEvent } from './event-record.ts';
import { eventsOfCalls } from './refused-calls.ts';
import type { RawAnswer } from './raw-call.ts';
import type { SidecarProcess } from './sidecar-process.ts';
import type { WayInStage } from './way-in-stage.ts';

/** A request that must not get through, and the reason of WIRE 4 that it is refused with. */
export interface Attack {
  readonly what: string;
  readonly code: string;
  readonly send: () => Promise<RawAnswer>;
}

/** Reasons of DESIGN 7 for the way in: they are replays and are counted as such. Others are refusals only. */
const grades: Readonly<Record<string, 'proven' | 'suspected'>> = {
  proof_reused: 'proven',
  proof_wrong_method: 'proven',
  proof_wrong_target: 'proven',
  proof_wrong_token: 'proven',
  proof_wrong_body: 'proven',
  proof_wrong_chain: 'proven',
  token_foreign_presenter: 'proven',
  token_spent: 'proven',
  chain_spliced: 'proven',
  chain_off_path: 'proven',
  token_wrong_audience: 'suspected',
  proof_expired: 'suspected',
  chain_broken: 'suspected',
};

/** Status of a code by the table of WIRE 4. */
function statusOf(code: string): number {
  if (/^(?:token|proof)_|^nonce_required$|^clock_skew$/.test(code)) return 401;
  if (/^chain_|^caller_not_allowed$/.test(code)) return 403;
  if (/^ledger_|^overloaded$/.test(code)) return 503;
  if (code === 'body_too_large') return 413;
  if (code === 'proxy_loop') return 508;
  return code === 'authority_mismatch' ? 421 : 400;
}

/** `error` of the DPoP challenge (RFC 9449 7.1, 9; RFC 6750 3: none where there were no credentials). */
function challengeOf(code: string): string | undefined {
  if (code === 'token_missing') return undefined;
  if (code === 'nonce_required') return 'use_dpop_nonce';
  return code.startsWith('token_') ? 'invalid_token' : 'invalid_dpop_proof';
}

/** Counters of refusals on the way in, and of replays with their grade, that are not 0. */
export async function refusalCounts(sidecar: SidecarProcess): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  const line = /^waybill_(?<name>refusals|replays_blocked)_total\{(?<labels>[^}]*)\} (?<value>\d+)$/;
  for (const text of (await sidecar.metrics()).split('\n')) {
    const { name, labels = '', value } = line.exec(text)?.groups ?? {};
    const label = (key: string): string => new RegExp(`${key}="([^"]*)"`).exec(labels)?.[1] ?? '';
    if (name === undefined || label('way') !== 'in' || value === '0') continue;
    const key = name === 'refusals' ? `refused ${label('code')}` : `replay ${label('reason')} ${label('grade')}`;
    counts.set(key, (counts.get(key) ?? 0) + Number(value));
  }
  return counts;
}

/** What came between two counts. */
function added(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): Record<string, number> {
  const grown = [...after].map(([key, count]) => [key, count - (before.get(key) ?? 0)] as const);
  return Object.fromEntries(grown.filter(([, count]) => count !== 0));
}

function wanted(codes: readonly string[]): Record<string, number> {
  const counts = new Map<string, number>();
  const add = (key: string): void => void counts.set(key, (counts.get(key) ?? 0) + 1);
  for (const code of codes) {
    add(`refused ${code}`);
    if (grades[code] !== undefined) add(`replay ${code} ${grades[code]}`);
  }
  return Object.fromEntries(counts);
}

/**
 * Every attack is refused with its reason and nothing else happens: the answer is the problem (and, as a 401, the challenge with a
 * nonce), each is counted once, each has one event that says of whom, and the program saw none of them.
 */
export async function expectEachRefused(stage: WayInStage, attacks: readonly Attack[]): Promise<void> {
  const seen = stage.program.seen.length;
  const before = await refusalCounts(stage.sidecar);
  const tried: { what: string; answer: RawAnswer }[] = [];
  for (const { what, send } of attacks) tried.push({ what, answer: await send() });
  const codes = attacks.map(({ code }) => code);
  const told = tried.map(({ what, answer }) => `${what}: ${answer.status} ${answer.code}`);
  expect(told).toEqual(attacks.map(({ what, code }) => `${what}: ${statusOf(code)} ${code}`));
  expect(added(before, await refusalCounts(stage.sidecar))).toEqual(wanted(codes));
  expect(stage.program.seen.slice(seen).map(({ method, path }) => `${method} ${path}`)).toEqual([]);
  for (const [at, { what, answer }] of tried.entries()) {
    expectChallenge(what, codes[at] ?? '', answer);
    expect([what, (JSON.parse(answer.body) as { status?: number }).status]).toEqual([what, answer.status]);
  }

  const events = await eventsOfCalls(stage.sidecar.eventsFile, tried);
  const recorded = events.map((list) =>
    list.map(({ event, way, code, status, replay }) => ({ event, way, code, status, replay })),
  );
  expect(recorded).toEqual(
    codes.map((code) => {
      const replay = grades[code] === undefined ? undefined : { reason: code, grade: grades[code] };
      return [{ event: 'call.refused', way: 'in', code, status: statusOf(code), replay }];
    }),
  );
  const hasTls = stage.origin.startsWith('https:');
  for (const [at, { what }] of tried.entries()) expectKnown(what, codes[at] ?? '', events[at]![0]!, hasTls);
}

/** Reasons that are given to somebody whose token was found good: a replay without the name of its victim would help nobody. */
const ofKnownUser =
  /^(?:proof_\w+|clock_skew|nonce_required|token_(?:spent|foreign_presenter)|chain_\w+|ledger_\w+|overloaded)$/;
/** Of them, those that come after the proof was found good. (A chain may also be refused beside a token that needs no proof.) */
const ofKnownProof = /^(?:nonce_required|proof_(?:reused|wrong_body|wrong_chain)|token_spent|ledger_\w+)$/;
/** What the parser itself refuses never became a request of which a method is known. */
const withoutTarget = /^(?:message_malformed|body_too_large)$/;

/** The event of a refusal says where the request went, and of whom it was, as far as that was found good. */
function expectKnown(what: string, code: string, event: RecordedEvent, hasTls: boolean): void {
  const { subject, credential, proof, target } = event as Record<string, Record<string, unknown> | undefined>;
  if (!withoutTarget.test(code)) expect([what, target?.['method']]).toEqual([what, expect.stringMatching(/^[A-Z]+$/)]);
  if (!ofKnownUser.test(code)) return;
  expect([what, subject]).toEqual([what, { iss: expect.any(String), sub: expect.stringMatching(/./) }]);
  // A workload may come without a token, known by the certificate of its connection; then it has neither token nor proof.
  const token = { service: expect.any(String), id: expect.stringMatching(/^[0-9a-f]{16}$/), from: 'caller' };
  if (!(hasTls && subject?.['iss'] === '')) expect([what, credential]).toMatchObject([what, token]);
  if (!hasTls && ofKnownProof.test(code))
    expect([what, proof]).toEqual([what, { kind: 'dpop', id: expect.any(String) }]);
}

function expectChallenge(what: string, code: string, { status, headers }: RawAnswer): void {
  if (status !== 401) {
    expect([what, headers['www-authenticate']]).toEqual([what, undefined]);
    return;
  }
  const challenge = headers['www-authenticate'] ?? '';
  expect(challenge, what).toMatch(/^DPoP .*\balgs="[A-Za-z0-9 ]*\bES256\b/);
  expect([what, /error="([^"]*)"/.exec(challenge)?.[1]]).toEqual([what, challengeOf(code)]);
  expect(headers['dpop-nonce'], what).toMatch(/^[!#-[\]-~]{16,}$/);
}

/** A request that the program gets, once. */
export async function expectPasses(stage: WayInStage, what: string, send: () => Promise<RawAnswer>): Promise<void> {
  const seen = stage.program.seen.length;
  const answer = await send();
  expect(`${what}: ${answer.status} ${answer.code ?? ''}`).toBe(`${what}: 200 `);
  expect([what, stage.program.seen.length - seen]).toEqual([what, 1]);
}
