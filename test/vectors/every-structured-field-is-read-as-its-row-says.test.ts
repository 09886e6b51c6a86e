import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  DisplayString,
  parseDictionary,
  parseItem,
  parseList,
  Token,
  type BareItem,
  type InnerList,
  type Item,
  type Parameters,
} from 'structured-headers';
import { expect, test } from 'vitest';

const folder = join(import.meta.dirname, '..', '..', '..', 'shared', 'vectors', 'structured-fields');

/** One row: the lines of a field, and what they mean; values that are no plain ones are objects with a `__type`. */
interface Row {
  readonly name: string;
  readonly raw: readonly string[];
  readonly header_type: 'item' | 'list' | 'dictionary';
  readonly must_fail?: boolean;
  readonly expected?: unknown;
}

/** Dates that JavaScript has no `Date` for: RFC 9651 has nine more orders of magnitude. They are read, as no date. */
const beyondDate: readonly string[] = [
  'syntactic max date - 999,999,999,999,999',
  'syntactic min date - -999,999,999,999,999',
];

const read = {
  item: (text: string) => member(parseItem(text)),
  list: (text: string) => parseList(text).map(member),
  dictionary: (text: string) => [...parseDictionary(text)].map(([key, value]) => [key, member(value)]),
};

function member(value: Item | InnerList): unknown[] {
  const [content, parameters] = value;
  return [Array.isArray(content) ? content.map(member) : bare(content), named(parameters)];
}

function named(parameters: Parameters): unknown[] {
  return [...parameters].map(([key, value]) => [key, bare(value)]);
}

function bare(value: BareItem): unknown {
  if (value instanceof Token) return { __type: 'token', value: value.toString() };
  if (value instanceof DisplayString) return { __type: 'displaystring', value: value.toString() };
  if (value instanceof ArrayBuffer) return { __type: 'binary', value: base32(Buffer.from(value)) };
  if (value instanceof Date) return { __type: 'date', value: value.getTime() / 1000 };
  return value;
}

/** As RFC 4648 6 writes bytes, which the rows use. */
function base32(bytes: Buffer): string {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  const letters = (bits.match(/.{1,5}/g) ?? []).map(
    (five) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'[Number.parseInt(five.padEnd(5, '0'), 2)],
  );
  return letters.join('').padEnd(Math.ceil(letters.length / 8) * 8, '=');
}

test('each row means what it says, and what must fail does', ({ skip }) => {
  if (!existsSync(folder)) {
    skip('vectors not present');
    return;
  }
  const rows = readdirSync(folder).flatMap((file) => JSON.parse(readFileSync(join(folder, file), 'utf8')) as Row[]);
  expect(rows.length).toBeGreaterThan(200);
  const wrong: unknown[] = [];
  for (const row of rows) {
    const got = readRow(row);
    const wanted = row.must_fail === true ? 'refused' : row.expected;
    if (beyondDate.includes(row.name)) expect(got).toEqual([{ __type: 'date', value: Number.NaN }, []]);
    else if (JSON.stringify(got) !== JSON.stringify(wanted)) wrong.push({ row: row.name, got, wanted });
  }
  expect(wrong).toEqual([]);
});

function readRow({ header_type, raw }: Row): unknown {
  try {
    // Several lines are one field, RFC 9110 5.3.
    return read[header_type](raw.join(', '));
  } catch {
    return 'refused';
  }
}
