import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { formatChain, parseChain } from '../../proxy/delegation/chain.ts';
import type { Caller } from '../stage/caller.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const vectors = join(import.meta.dirname, '..', '..', '..', 'shared', 'vectors');
const fields = join(vectors, 'structured-fields');
const digests = join(vectors, 'content-digest.json');
const absent = 'vectors not present';
const isPresent = existsSync(fields) && existsSync(digests);

/** One row: lines of a field, and what they mean. Values that are no plain ones are objects with a `__type`. */
interface Row {
  readonly name: string;
  readonly raw: readonly string[];
  readonly header_type: 'item' | 'list' | 'dictionary';
  readonly must_fail?: boolean;
  readonly can_fail?: boolean;
  readonly canonical?: readonly string[];
  readonly expected?: unknown;
}

function rowsOf(type: Row['header_type']): readonly Row[] {
  const files = readdirSync(fields).map((name) => readFileSync(join(fields, name), 'utf8'));
  return files.flatMap((text) => JSON.parse(text) as Row[]).filter((row) => row.header_type === type);
}

let stage: WayInStage;
let caller: Caller;

/** A way in whose requests name a digest of their body: the one dictionary that we read. */
beforeAll(async () => {
  if (!isPresent) return;
  stage = await openWayIn();
  caller = await stage.caller();
});
afterAll(() => stage?.close());

/** What a request with these lines of `Content-Digest` comes to. */
async function send(lines: readonly string[], body = ''): Promise<string> {
  const headers = lines.map((line) => ['Content-Digest', line] as const);
  const { status, code } = await caller.send({ method: 'POST', body, headers });
  return code ?? String(status);
}

const limits = { maxLinks: 100, maxBytes: 100_000 };

function readChain(value: string): readonly string[] | 'refused' {
  try {
    return parseChain(value, limits);
  } catch {
    return 'refused';
  }
}

const link = 'eyJhbGciOiJFUzI1NiJ9.e30.AAAA';

test('a list of tokens is read in its canonical spelling, and in no other', ({ skip }) => {
  if (!isPresent) {
    skip(absent);
    return;
  }
  const rows = rowsOf('list');
  // As they are, none of them is a chain: a link is a token that no example has.
  expect(rows.filter(({ raw }) => raw.some((line) => readChain(line) !== 'refused'))).toEqual([]);
  // With a link in place of each number they are lists of tokens, and the rows say which spelling is the canonical one.
  const spelled = rows
    // What is wrong with a number is nothing about a list.
    .filter(({ raw }) => raw.length === 1 && !/\d{13,}/.test(raw[0] ?? ''))
    .map((row) => ({ row, value: (row.raw[0] ?? '').replaceAll(/\b\d+\b/g, link) }));
  const read = spelled.filter(({ value }) => readChain(value) !== 'refused');
  for (const { row, value } of read) {
    expect([row.name, row.must_fail ?? false, (row.canonical ?? row.raw).length]).toEqual([row.name, false, 1]);
    expect(formatChain(parseChain(value, limits))).toBe((row.canonical ?? row.raw)[0]?.replaceAll(/\b\d+\b/g, link));
  }
  expect(read.map(({ value }) => value)).toContain(`${link}, ${link}`);
  const other = [
    `${link},${link}`,
    `${link} , ${link}`,
    `${link}, ${link},`,
    ` ${link}`,
    `${link};a=1`,
    `(${link})`,
    '',
  ];
  expect(other.map(readChain)).toEqual(other.map(() => 'refused'));
});

test('a dictionary of byte sequences is read, and nothing that is none', async ({ skip }) => {
  if (!isPresent) {
    skip(absent);
    return;
  }
  const said: [string, string][] = [];
  const wanted: [string, string][] = [];
  for (const row of rowsOf('dictionary')) {
    if (row.raw.some((line) => /[^\t -~]/.test(line))) continue;
    const isOurs = row.must_fail !== true && row.raw.length === 1 && isBytes(row.expected);
    wanted.push([row.name, isOurs ? '200' : 'message_malformed']);
    said.push([row.name, await send(row.raw)]);
  }
  expect(said.length).toBeGreaterThan(35);
  expect(said).toEqual(wanted);
});

/** Whether all members of an expected dictionary are byte sequences without parameters, and there is one. */
function isBytes(expected: unknown): boolean {
  if (!Array.isArray(expected) || expected.length === 0) return false;
  return expected.every(([, [value, parameters]]) => Object(value).__type === 'binary' && parameters.length === 0);
}

test('a byte sequence is read as its row says', async ({ skip }) => {
  if (!isPresent) {
    skip(absent);
    return;
  }
  const rows = rowsOf('item').filter(({ raw }) => raw.length === 1 && raw[0]?.trimStart().startsWith(':'));
  expect(rows.length).toBeGreaterThan(10);
  for (const row of rows) {
    const said = await send([`own=${row.raw[0]}`]);
    const wanted = row.must_fail === true ? ['message_malformed'] : ['200'];
    if (row.can_fail === true) wanted.push('message_malformed');
    expect([row.name, wanted.includes(said), said]).toEqual([row.name, true, said]);
  }
});

interface Digests {
  readonly cases: readonly { body: string; sha256: string; sha512: string }[];
  readonly headerCases: readonly { header: string; body?: string; ok: boolean; why?: string }[];
}

test('a digest of the body binds as RFC 9530 says', async ({ skip }) => {
  if (!isPresent) {
    skip(absent);
    return;
  }
  const { cases, headerCases } = JSON.parse(readFileSync(digests, 'utf8')) as Digests;
  for (const { body, sha256, sha512 } of cases) {
    for (const line of [sha256, sha512, `${sha256}, ${sha512}`])
      expect([line, await send([line], body)]).toEqual([line, '200']);
    expect(await send([sha256], `${body} `)).toBe('proof_wrong_body');
  }
  for (const { header, body = '', ok, why = '' } of headerCases) {
    const said = await send([header], body);
    // What only an unknown algorithm states is stated by nobody.
    const passes = ok || why.includes('treat as absent');
    expect([header, said === '200', said]).toEqual([header, passes, said]);
  }
});
