import { basename } from 'node:path';
import { expect, test } from 'vitest';
import { listFiles, readSource } from './sources.ts';

const cap = 250;
const product = ['proxy', 'config'].flatMap(listFiles).filter((path) => path.endsWith('.ts'));
const code = ['proxy', 'config', 'loadtest', 'test'].flatMap(listFiles).filter((path) => /\.(ts|js)$/.test(path));

test(`no file has more than ${cap} lines`, () => {
  const lengths = product.map(countLines).toSorted((a, b) => a - b);
  console.log(`${lengths.length} product files, median ${lengths[Math.floor(lengths.length / 2)]} lines`);
  expect(code.filter((path) => countLines(path) > cap)).toEqual([]);
});

test('no file is a drawer: types, utils, helpers, index', () => {
  expect(
    code.filter((path) => /^(types?|utils?|helpers?|common|misc|index)\.(d\.)?[tj]s$/.test(basename(path))),
  ).toEqual([]);
});

test('file names are kebab-case', () => {
  expect(code.filter((path) => !/^[a-z0-9]+(-[a-z0-9]+)*(\.(test|config|d))?\.[tj]s$/.test(basename(path)))).toEqual(
    [],
  );
});

test('nothing is left behind in product code', () => {
  const leftover = /\b(TODO|FIXME|XXX|HACK)\b|as any\b|as unknown as|@ts-(ignore|nocheck)/;
  expect(product.filter((path) => leftover.test(readSource(path)))).toEqual([]);
});

function countLines(path: string): number {
  return readSource(path).split('\n').length - 1;
}
