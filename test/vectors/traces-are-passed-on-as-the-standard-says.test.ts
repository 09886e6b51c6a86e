import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readHeaders } from '../../proxy/intercept/header-list.ts';
import { headerClassifier } from '../../proxy/intercept/header-names.ts';

const file = join(import.meta.dirname, '..', '..', '..', 'shared', 'vectors', 'trace-context.json');

interface Vectors {
  readonly valid: readonly string[];
  readonly invalid: readonly string[];
  readonly tracestateValid: readonly string[];
  readonly tracestateInvalid: readonly string[];
}

function readVectors(): Vectors | undefined {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Vectors) : undefined;
}

const classOfName = headerClassifier(new Set());
const good = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

/** What of these header lines goes on. */
function passed(...lines: readonly (readonly [string, string])[]): readonly string[] {
  return readHeaders(lines.flat(), classOfName).forward;
}

test('a traceparent that can be read passes as it is, and any other goes with its tracestate', ({ skip }) => {
  const vectors = readVectors();
  if (vectors === undefined) {
    skip('vectors not present');
    return;
  }
  const state = ['tracestate', 'vendor=1'] as const;
  for (const value of vectors.valid) {
    expect([value, passed(['Traceparent', value], state)]).toEqual([value, ['Traceparent', value, ...state]]);
  }
  for (const value of vectors.invalid) {
    for (const lines of [
      [['traceparent', value] as const, state],
      [state, ['TRACEPARENT', value] as const],
    ]) {
      expect([value, passed(['accept', '*/*'], ...lines)]).toEqual([value, ['accept', '*/*']]);
    }
  }
  for (const value of vectors.valid) expect(passed(['traceparent', value], state, ['traceparent', value])).toEqual([]);
});

test('a tracestate that can be read passes, and any other goes, without the traceparent', ({ skip }) => {
  const vectors = readVectors();
  if (vectors === undefined) {
    skip('vectors not present');
    return;
  }
  const parent = ['traceparent', good] as const;
  for (const value of vectors.tracestateValid) {
    const line = ['tracestate', value] as const;
    expect([value, passed(parent, line)]).toEqual([value, [...parent, ...line]]);
  }
  for (const value of vectors.tracestateInvalid) {
    expect([value, passed(parent, ['tracestate', value])]).toEqual([value, [...parent]]);
    // Several lines are one list.
    expect(passed(parent, ['tracestate', 'b=1'], ['tracestate', value])).toEqual([...parent]);
  }
  const members = Array.from({ length: 33 }, (_, at) => `v${at}=1`);
  expect(passed(parent, ['tracestate', members.slice(1).join()]).length).toBe(4);
  expect(passed(parent, ['tracestate', members.join()])).toEqual([...parent]);
});

test('our own member goes from any of them, and what is left passes', ({ skip }) => {
  const vectors = readVectors();
  if (vectors === undefined) {
    skip('vectors not present');
    return;
  }
  for (const value of vectors.tracestateValid.filter((one) => one !== '')) {
    for (const own of ['waybill=abc', ' waybill=abc ', 'WayBill =abc']) {
      for (const list of [`${own},${value}`, `${value},${own}`]) {
        const [, left] = passed(['tracestate', list]);
        expect([list, left?.trim()]).toEqual([list, value]);
      }
    }
  }
  expect(passed(['tracestate', 'waybill=abc'])).toEqual([]);
});
