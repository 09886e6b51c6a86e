import { expect, test } from 'vitest';
import { ConfigErrors } from '../../config/config-errors.ts';
import { loadSettings } from '../../config/load.ts';

/** What is wrong with a text: `line:column path: message`, in the order of the text. */
export function explain(text: string): string[] {
  try {
    loadSettings(text, 'w.yaml');
  } catch (error) {
    if (!(error instanceof ConfigErrors)) throw error;
    return error.errors.map(({ line, column, path, message }) => `${line}:${column} ${path}: ${message}`);
  }
  return [];
}

/** A configuration without fault, to which a row adds one. */
export const good = `version: 1
agent: { name: a }
identity: { workload_api: "unix:///s" }
token_services: { s: { issuer: "https://s.example.org", client_auth: spiffe_jwt } }
`;

/** One tool named t, in one line, with a token unless told otherwise. */
export const tool = (more: string, token = 'from: s, audience: [t]', host = 'h.example.org') =>
  `${good}tools: { t: { match: { host: ${host} }, token: { ${token} }${more} } }`;

/** Name, text and message. ‸ stands right before the place that must be named, and is not part of the text. */
export type Row = readonly [name: string, marked: string, message: RegExp];

/** Each row has exactly the one error that it names, at its place. */
export function testRows(rows: readonly Row[]): void {
  test.each(rows)('%s', (_name, marked, expected) => {
    const before = marked.slice(0, marked.indexOf('‸')).split('\n');
    const place = marked.includes('‸') ? `${before.length}:${(before.at(-1) ?? '').length + 1}` : '1:1';
    const found = explain(marked.replace('‸', ''));
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(/^\d+:\d+ /);
    expect(found[0]?.split(' ')[0]).toBe(place);
    expect(found[0]?.slice(found[0].indexOf(' ') + 1)).toMatch(expected);
  });
}
