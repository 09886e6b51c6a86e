import { expect, test } from 'vitest';
import { InvalidSpiffeId, SpiffeId } from '../../proxy/spiffe/spiffe-id.ts';
import { absent, readSpiffeVectors } from './spiffe-vectors.ts';

const vectors = readSpiffeVectors('spiffe-ids');

/** Where our reason differs from the row's: the first rule broken is named, and the long ones have prose for a reason. */
const otherReasons: ReadonlyMap<string, string> = new Map([[' spiffe://trustdomain/path', 'scheme']]);

test('valid SPIFFE IDs are taken apart and spelled as they came', ({ skip }) => {
  if (vectors === undefined) {
    skip(absent);
    return;
  }
  expect(vectors.valid.length).toBeGreaterThan(0);
  for (const { id, td, path } of vectors.valid) {
    const parsed = SpiffeId.parse(id);
    expect([parsed.trustDomain, parsed.path, parsed.toString(), JSON.stringify(parsed)]).toEqual([
      td,
      path,
      id,
      JSON.stringify(id),
    ]);
  }
});

test('invalid SPIFFE IDs are refused with the reason', ({ skip }) => {
  if (vectors === undefined) {
    skip(absent);
    return;
  }
  expect(vectors.invalid.length).toBeGreaterThan(0);
  for (const { id, reason } of vectors.invalid) {
    const fault = faultOf(id);
    if (reason.startsWith('trust domain longer')) expect(fault).toBe('trust-domain-too-long');
    else if (reason.startsWith('longer than 2048')) expect(fault).toBe('too-long');
    else expect(fault, JSON.stringify(id)).toBe(otherReasons.get(id) ?? reason);
  }
});

test('every byte is allowed in a trust domain and in a path exactly as the standard says', ({ skip }) => {
  if (vectors === undefined) {
    skip(absent);
    return;
  }
  expect(vectors.charSweep.length).toBeGreaterThan(200);
  for (const { char, trustDomain, path } of vectors.charSweep) {
    expect(faultOf(`spiffe://a${char}b/x`) === undefined, `trust domain ${JSON.stringify(char)}`).toBe(
      trustDomain || char === '/',
    );
    expect(faultOf(`spiffe://td/a${char}b`) === undefined, `path ${JSON.stringify(char)}`).toBe(path || char === '/');
  }
});

function faultOf(id: string): string | undefined {
  try {
    SpiffeId.parse(id);
    return undefined;
  } catch (error) {
    if (!(error instanceof InvalidSpiffeId)) throw error;
    // What a stranger wrote must not travel into logs through our error.
    if (id.length > 12) expect(error.message).not.toContain(id);
    return error.fault;
  }
}
