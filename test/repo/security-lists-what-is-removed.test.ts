import { expect, test } from 'vitest';
import { facts } from '../../proxy/decide/facts.ts';
import { readReplyHeaders } from '../../proxy/forward/reply-headers.ts';
import { forms } from '../../proxy/forward/screen/forms.ts';
import { headerClassifier } from '../../proxy/intercept/header-names.ts';
import { readSource } from './sources.ts';
import { readCode, readRows } from './tables.ts';

const page = 'SECURITY.md';

/** The names of one row of the tables of headers. */
function readNames(row: string): string[] {
  const found = readRows(page, 'Headers taken from the agent').find(([name]) => name === row);
  if (found === undefined) throw new Error(`${page} has no row "${row}"`);
  return readCode(found[1] ?? '');
}

/** The texts of a list in the source: exactness needs the names that nobody exports. */
function readList(file: string, name: string): string[] {
  const list = new RegExp(`^const ${name} = (?:new Set\\()?\\[([\\s\\S]*?)\\]`, 'm').exec(readSource(file))?.[1];
  if (list === undefined) throw new Error(`${file} has no list ${name}`);
  return [...list.replaceAll(/\/\/.*$/gm, '').matchAll(/'([^']+)'/g)].map(([, text = '']) => text);
}

const names = 'proxy/intercept/header-names.ts';
const answers = 'proxy/forward/reply-headers.ts';
const isTakenFromAnswers = (name: string): boolean => readReplyHeaders([name, 'close'], true).forward.length === 0;
const prefixed = (list: readonly string[]): string[] => list.map((prefix) => `${prefix}*`);

test.each([
  ['identity', readList(names, 'identity')],
  ['identity, by prefix', prefixed(readList(names, 'identityPrefixes'))],
  ['hop by hop', [...readList(names, 'hop'), 'proxy-*']],
  ['answer', [...readList(answers, 'dropped'), ...['connection', 'dpop-nonce'].filter(isTakenFromAnswers)]],
  ['answer, by prefix', prefixed(readList(answers, 'droppedPrefixes'))],
])(`${page} lists exactly the headers of the class %s`, (row, wanted) => {
  expect(readNames(row).toSorted()).toEqual(wanted.toSorted());
});

test('the program judges each of the listed names as its row says, in any case and spelling', () => {
  const classOf = headerClassifier(new Set());
  const spellings = (name: string): string[] => [name.replace('*', 'x'), name.replace('*', 'x').toUpperCase()];
  for (const name of [...readNames('identity'), ...readNames('identity, by prefix')]) {
    for (const spelling of spellings(name)) expect(classOf(spelling), spelling).toBe('identity');
    const folded = name.replace('*', 'x').replaceAll('-', '_');
    expect(['identity', 'hop'], folded).toContain(classOf(folded));
  }
  for (const name of readNames('hop by hop')) {
    for (const spelling of spellings(name)) expect(classOf(spelling), spelling).toBe('hop');
  }
  for (const name of readNames('handle').slice(0, 2)) expect(classOf(name), name).toBe('credential');
  for (const name of readNames('written by us')) expect(['forward', 'identity'], name).not.toContain(classOf(name));
  for (const name of readNames('selection')) expect(classOf(name), name).toBe('selection');
  expect(classOf('accept')).toBe('forward');
});

test('answers lose each of the listed names, and cookies where the tool has a token', () => {
  for (const name of [...readNames('answer'), ...readNames('answer, by prefix')]) {
    expect(isTakenFromAnswers(name.replace('*', 'x')), name).toBe(true);
  }
  expect(readReplyHeaders(['Set-Cookie', 'a=b'], false).forward).toEqual([]);
  expect(readReplyHeaders(['Set-Cookie', 'a=b', 'ETag', '"x"'], true).forward).toHaveLength(4);
});

test('no class of header is left out of the page', () => {
  const classes = /^export type HeaderClass =([\s\S]*?);/m.exec(readSource(names))?.[1] ?? '';
  const named = [
    'forward',
    'hop',
    'identity',
    'credential',
    'cookie',
    'origin',
    'fetch-site',
    'selection',
    ...readNames('trace'),
    ...readNames('written by us'),
  ];
  const known = [...classes.matchAll(/'([^']+)'/g)].map(([, name = '']) => name);
  expect(known.filter((name) => !named.includes(name))).toEqual([]);
});

test('the binding levels are those that rules can read', () => {
  const rows = readRows(page, 'How far a credential is tied to its path').map(
    ([level = '']) => readCode(level)[0] ?? '',
  );
  expect(rows.toSorted()).toEqual([...(facts['tool.binding'].values ?? [])].toSorted());
});

test('the clients that get a challenge on CONNECT are those of the program', () => {
  const source = /const waitsForChallenge = \/\^\(\?:([^)]*)\)/.exec(
    readSource('proxy/identify/tunnel-credential.ts'),
  )?.[1];
  const clients = (source ?? '').split('|');
  const said = /by their `User-Agent`: ([\s\S]*?)\./.exec(readSource(page))?.[1] ?? '';
  const listed = said.split(/,\s+/).map((name) => name.toLowerCase().replace('apache httpclient', 'apache-httpclient'));
  expect(listed).toEqual(clients);
});

test('what is masked in answers is what the list says', () => {
  const rows = readRows(page, 'Masked in answers').map(([name, part]) => [name, part]);
  const extent = (isCommon: boolean): string => (isCommon ? 'every part of 23 bytes' : 'the whole credential');
  expect(rows).toEqual(forms.map(({ name, isCommon = false }) => [name, extent(isCommon)]));
});
