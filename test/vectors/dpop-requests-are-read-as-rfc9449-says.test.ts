import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Caller, CallerRequest } from '../stage/caller.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const file = join(import.meta.dirname, '..', '..', '..', 'shared', 'vectors', 'rfc9449.json');
const isPresent = existsSync(file);

let stage: WayInStage;
let caller: Caller;

beforeAll(async () => {
  if (!isPresent) return;
  stage = await openWayIn();
  caller = await stage.caller();
});
afterAll(() => stage?.close());

/** The rows about a whole request: headers, and whether scheme and token fit. All others are about a proof alone. */
const requests: Readonly<Record<string, (unbound: string) => CallerRequest>> = {
  'no DPoP header': () => ({ proof: null }),
  'two DPoP headers': () => ({ headers: [['DPoP', caller.proofFor()]] }),
  'DPoP-bound token sent as Bearer': () => ({ scheme: 'Bearer', proof: null }),
  'Bearer-only token sent with scheme DPoP': (unbound) => ({ token: unbound }),
};
const codes: Readonly<Record<string, string>> = {
  missing: 'proof_missing',
  multiple: 'proof_ambiguous',
  scheme: 'token_invalid',
};

test('each mutation of a request is refused for what it is named by, and the request itself passes', async ({
  skip,
}) => {
  if (!isPresent) {
    skip('vectors not present');
    return;
  }
  const { mutations } = JSON.parse(readFileSync(file, 'utf8')) as { mutations: { case: string; expect: string }[] };
  const unbound = await stage.to.mint({ cnf: undefined });
  expect((await caller.send()).status).toBe(200);
  const rows = mutations.filter((row) => Object.hasOwn(requests, row.case));
  expect(rows.length).toBe(Object.keys(requests).length);
  for (const row of rows) {
    const { status, code } = await caller.send(requests[row.case]!(unbound));
    expect([row.case, status, code]).toEqual([row.case, 401, codes[row.expect]]);
  }
  expect(stage.program.seen.length).toBe(1);
});
