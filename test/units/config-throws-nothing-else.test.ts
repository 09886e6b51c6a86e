import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { array, assert, constantFrom, integer, jsonValue, oneof, property, string, tuple } from 'fast-check';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import { ConfigErrors } from '../../config/config-errors.ts';
import { loadSettings } from '../../config/load.ts';
import { findWarnings } from '../../config/warnings.ts';
import { listUnsafe } from '../../config/unsafe.ts';

const example = readFileSync(join(import.meta.dirname, '../../config/examples/waybill.yaml'), 'utf8');

/** Loads a text; whatever comes of it is settings or a `ConfigErrors` with places inside the text. */
function load(text: string): void {
  try {
    const { settings } = loadSettings(text, 'fuzz.yaml');
    findWarnings(settings);
    listUnsafe(settings);
  } catch (error) {
    if (!(error instanceof ConfigErrors)) throw error;
    expect(error.errors.length).toBeGreaterThan(0);
    const lines = text.split(/\r\n|\n|\r/).length;
    for (const { line, column, message } of error.errors) {
      expect(message).not.toBe('');
      expect(line >= 1 && column >= 1 && line <= lines + 1).toBe(true);
    }
  }
}

const words = ['version: 1', 'agent:', 'tools:', '<<: ', '__proto__: ', 'constructor: ', 'match: ', 'token: ', '# x\n'];
const marks = [...Array.from(' \n\t{}[]:,"\'|>?'), '- ', '---', '&a ', '*a', '!!map ', '%YAML 1.1\n'];
const values = ['\u0000', '\ufeff', '🦊', '1e999', '.nan', 'null'];
const token = constantFrom(...words, ...marks, ...values);

test('any text', () => {
  assert(property(string({ unit: 'binary', maxLength: 200 }), load), { numRuns: 300 });
});

test('any heap of YAML', () => {
  assert(
    property(array(token, { maxLength: 40 }), (tokens) => load(tokens.join(''))),
    { numRuns: 1500 },
  );
});

test('the example, damaged at any place', () => {
  const damage = tuple(
    integer({ min: 0, max: example.length }),
    integer({ min: 0, max: 40 }),
    oneof(token, string({ maxLength: 8 })),
  );
  assert(
    property(damage, ([at, length, text]) => load(example.slice(0, at) + text + example.slice(at + length))),
    { numRuns: 1500 },
  );
});

test('any value in place of any setting', () => {
  const keys = [
    'agent',
    'identity',
    'trust',
    'token_services',
    'tools',
    'rules',
    'inbound',
    'purposes',
    'tasks',
    'replay',
    'dns',
    'ca',
    'operator',
    'listen',
    'record',
  ];
  const inner = ['match', 'token', 'issuer', 'name', 'issuers', 'standing', 'tokens', 'x', 'domains', 'servers'];
  inner.push('accept', 'callers', 'chain', 'subject_map', 'forward_to', 'origin', 'delegate', 'ledger');
  const any = tuple(constantFrom(...keys), constantFrom(...inner), jsonValue({ maxDepth: 3 }));
  assert(
    property(any, ([key, name, value]) => {
      load(`version: 1\n${stringify({ [key]: value })}`);
      load(`version: 1\n${stringify({ [key]: { [name]: value } })}`);
      load(`version: 1\n${stringify({ [key]: { t: { [name]: value } } })}`);
    }),
    { numRuns: 1000 },
  );
});

test('texts made to exhaust the reader', () => {
  for (const text of [
    '['.repeat(200_000),
    '{a: '.repeat(5000),
    '- '.repeat(20_000),
    `a: ${'[['.repeat(40)}x${']]'.repeat(40)}`,
  ])
    load(text);
});
