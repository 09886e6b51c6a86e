import { expect, test } from 'vitest';
import { loadSettings } from '../../config/load.ts';
import { good, testRows } from './config-explanation.ts';

/** One tool named t with a static key, in one line. */
const keyed = (secret: string, more = '', host = 'h.example.org') =>
  `${good}tools: { t: { match: { host: ${host} }${more}, secret: ${secret} } }`;

testRows([
  ['token and secret', keyed('‸{ file: /f, in: header }', ', token: { from: s, audience: t }'), /in place of `token`/],
  ['no source', keyed('‸{ in: header }'), /needs `file` or `dir`, and not both/],
  ['two sources', keyed('‸{ file: /f, dir: /d, in: header }'), /needs `file` or `dir`, and not both/],
  [
    'query without name',
    `${good}tools: { t: { match: { host: h }, ‸secret: { file: /f, in: query } } }`,
    /name: is missing: `in: query` needs/,
  ],
  ['basic with name', keyed('{ file: /f, in: basic, name: ‸x }'), /no meaning with `in: basic`/],
  ['query with prefix', keyed('{ file: /f, in: query, name: k, prefix: ‸"a " }'), /only with `in: header`/],
  ['reserved header', keyed('{ file: /f, in: header, name: ‸Host }'), /has a meaning of its own/],
  ['wildcard', keyed('{ file: /f, in: header }', '', '‸"*.example.org"'), /since this tool has a `secret`/],
  ['grave risk', keyed('{ file: /f, in: header }', ', risk: ‸export'), /`unsafe_bearer: true` allows/],
  ['the value itself', keyed('{ file: /f, in: header, ‸value: x }'), /unknown key/],
]);

test('a static key at a tool of grave risk is taken only where that is called unsafe', () => {
  const { settings } = loadSettings(keyed('{ file: /f, in: header }', ', risk: export, unsafe_bearer: true'), 'w.yaml');
  expect(settings.tools.get('t')?.secret).toEqual({ file: '/f', in: 'header' });
});
