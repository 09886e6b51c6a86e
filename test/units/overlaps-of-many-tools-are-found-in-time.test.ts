import { expect, test } from 'vitest';
import { loadSettings } from '../../config/load.ts';
import { findWarnings } from '../../config/warnings.ts';

const many = (count: number, paths: (at: number) => string) => {
  const tools = Array.from({ length: count }, (_, at) => `t${at}: { match: { host: h, paths: ["${paths(at)}"] } }`);
  const text = `version: 1
agent: { name: a }
rules: [{ name: r, effect: allow, when: "true" }]
tools: { ${tools.join(', ')} }`;
  const { settings } = loadSettings(text, 'w.yaml');
  const started = performance.now();
  const warnings = findWarnings(settings);
  return { warnings, ms: performance.now() - started };
};

test.each([
  ['that begin in other ways', (at: number) => `/a${at}/**/x*y`],
  ['that end in other ways', (at: number) => `/**/${at}`],
])('thousands of tools %s are told apart at once', (_name, paths) => {
  const { warnings, ms } = many(2500, paths);
  expect(warnings).toEqual([]);
  expect(ms).toBeLessThan(6000);
});

test('of very many the first are named; those that take too long are told', () => {
  const same = many(2500, () => '/api/**');
  expect(same.warnings).toHaveLength(101);
  expect(same.warnings.at(-1)).toMatch(/more overlaps than these/);
  const apart = many(1000, (at) => `/**/x${at}/*b`);
  expect(apart.warnings).toEqual([expect.stringMatching(/too many path patterns/)]);
  expect(same.ms + apart.ms).toBeLessThan(10_000);
});
