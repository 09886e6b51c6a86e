import { describe, expect, test } from 'vitest';
import { loadSettings } from '../../config/load.ts';
import { findWarnings } from '../../config/warnings.ts';

const load = (more: string) => loadSettings(`version: 1\nagent: { name: a }\n${more}`, 'w.yaml').settings;
const allow = 'rules: [{ name: r, effect: allow, when: "true" }]\n';

describe('tools that overlap are named', () => {
  const overlaps = (first: string, second: string) =>
    findWarnings(load(`${allow}tools: { one: { match: { ${first} } }, two: { match: { ${second} } } }`));

  test.each([
    ['host: h', 'host: h'],
    ['host: h', 'host: H.'],
    ['host: h', 'host: "*"'],
    ['host: a.b.example.org', 'host: "*.example.org"'],
    ['host: "*.b.example.org"', 'host: "*.example.org"'],
    ['host: h, port: 1', 'host: h'],
    ['host: h, paths: ["/api/**"]', 'host: h, paths: ["/x", "/*/y"]'],
    ['host: h, paths: ["/a*c"]', 'host: h, paths: ["/ab*"]'],
    ['host: h, paths: ["/api/**"]', 'host: h, paths: ["/api"]'],
    ['host: h, paths: ["/**/x"]', 'host: h, paths: ["/a/**"]'],
    ['host: h, paths: ["/**"]', 'host: h, paths: ["/"]'],
    ['host: h, paths: ["/a/**/b"]', 'host: h, paths: ["/a/b"]'],
    ['host: h, paths: ["/a/**/b"]', 'host: h, paths: ["/a/*"]'],
    ['host: h, paths: ["/**/b/**"]', 'host: h, paths: ["/b"]'],
    ['host: h, paths: ["/*/b"]', 'host: h, paths: ["/a*/**"]'],
    ['host: h, methods: [GET, PUT]', 'host: h, methods: [PUT]'],
    ['host: h, methods: [GET]', 'host: h'],
  ])('{ %s } and { %s }', (first, second) => {
    expect(overlaps(first, second)).toEqual([expect.stringMatching(/^tools\.one and tools\.two overlap/)]);
    expect(overlaps(second, first)).toHaveLength(1);
  });

  test.each([
    ['host: h', 'host: g'],
    ['host: example.org', 'host: "*.example.org"'],
    ['host: badexample.org', 'host: "*.example.org"'],
    ['host: "*.a.org"', 'host: "*.b.org"'],
    ['host: h, port: 1', 'host: h, port: 2'],
    ['host: h, paths: ["/api/**"]', 'host: h, paths: ["/ap", "/x/api"]'],
    ['host: h, paths: ["/a*c"]', 'host: h, paths: ["/ab", "/b*"]'],
    ['host: h, paths: ["/a/*"]', 'host: h, paths: ["/a", "/a/", "/a/b/c"]'],
    ['host: h, methods: [GET]', 'host: h, methods: [PUT]'],
  ])('not { %s } and { %s }', (first, second) => {
    expect(overlaps(first, second)).toEqual([]);
    expect(overlaps(second, first)).toEqual([]);
  });

  test('and that another port leads past the one that names its own, where both are dialled at one place', () => {
    const past = /at port 80 only.* on any other port is one of tools\.two, and reaches the same server/;
    const admin = 'host: h, port: 80, paths: ["/admin/**"]';
    const dialled = (first: string, second: string) =>
      findWarnings(
        load(
          `${allow}tools: { one: { match: { ${admin} }, dial: "${first}" }, two: { match: { host: h }, dial: "${second}" } }`,
        ),
      );
    expect(dialled('127.0.0.1:9500', '127.0.0.1:9500')).toEqual([expect.stringMatching(past)]);
    expect(dialled('127.0.0.1:9500', '127.0.0.1:9501')).toEqual([expect.not.stringMatching(past)]);
    expect(overlaps(admin, 'host: h')).toEqual([expect.not.stringMatching(past)]);
  });

  test('long patterns cost little', () => {
    const long = `"/${'*a/'.repeat(200)}**"`;
    const started = performance.now();
    overlaps(`host: h, paths: [${long}]`, `host: h, paths: [${long.replaceAll('a', 'b')}]`);
    expect(performance.now() - started).toBeLessThan(2000);
  });
});
