import { describe, expect, test } from 'vitest';
import { call, compile, crm, errorsOf, noon, task, type Shorthand } from './rules-facts.ts';
import { tries } from '../stage/tries.ts';

/** The most that the header limits of the listener let through. */
const longest = 16 * 1024;

function timed<T>(work: () => T): { result: T; ms: number } {
  const start = performance.now();
  return { result: work(), ms: performance.now() - start };
}

const rulesFor = (...rules: readonly Shorthand[]) =>
  compile(...rules)
    .forTool(crm)
    .forTask(task);

describe('what the agent sends', () => {
  test('a pattern that other engines need exponential time for is linear', tries, () => {
    const rules = rulesFor(['deny', 'call.path.matches("(a+)+$")'], ['allow', 'true']);
    const { result, ms } = timed(() => rules.decide({ ...call, path: `/${'a'.repeat(longest)}!` }, noon));
    expect(result.effect).toBe('allow');
    expect(ms).toBeLessThan(250);
    expect(rules.decide({ ...call, path: '/aaaa' }, noon).effect).toBe('deny');
  });

  test('a pattern with many states is given up on long texts, and the rule closes', tries, () => {
    const pattern = '[ab]*a[ab]{900}[^x]$';
    const path = `/${'ab'.repeat(longest / 2)}x`;
    const denying = rulesFor(['deny', `call.path.matches("${pattern}")`], ['allow', 'true']);
    const allowing = rulesFor(['allow', `!call.path.matches("${pattern}")`]);
    const { result, ms } = timed(() => [denying, allowing].map((rules) => rules.decide({ ...call, path }, noon)));
    expect(result.map(({ effect, rule }) => `${effect} ${rule}`)).toEqual(['deny r0', 'deny default']);
    expect(ms).toBeLessThan(100);
    // On a text of usual length it works.
    expect(denying.decide(call, noon).effect).toBe('allow');
  });

  test('work within the bounds is short in the worst automaton too', tries, () => {
    const rules = rulesFor(['deny', 'call.path.matches("^/(a|b)*a(a|b){20}x$")'], ['allow', 'true']);
    let seed = 1;
    const random = (): string => ((seed = (seed * 48_271) % 2_147_483_647) & 1 ? 'a' : 'b');
    const path = `/${Array.from({ length: 3500 }, random).join('')}x`;
    const { ms } = timed(() => rules.decide({ ...call, path }, noon));
    expect(ms).toBeLessThan(500);
  });

  test.each(['call.path.split("").exists(c, c == "x")', 'call.path.split("a").all(c, c.matches("x*"))'])(
    'a list that it made too long is an error: %s',
    tries,
    (when) => {
      const rules = rulesFor(['deny', when], ['allow', 'true']);
      const { result, ms } = timed(() => rules.decide({ ...call, path: `/${'a'.repeat(longest)}` }, noon));
      expect(result.rule).toBe('r0');
      expect(ms).toBeLessThan(100);
    },
  );

  test('replacements that would take quadratic time are an error', tries, () => {
    const rules = rulesFor(['deny', 'call.path.replace("a", call.path).size() == 1'], ['allow', 'true']);
    const { result, ms } = timed(() => rules.decide({ ...call, path: 'a'.repeat(longest) }, noon));
    expect(result.rule).toBe('r0');
    expect(ms).toBeLessThan(100);
    expect(rules.decide({ ...call, path: '/a/b' }, noon).rule).toBe('r1');
  });

  test('functions repeated for each of many parts share one limit', tries, () => {
    const rules = rulesFor(['deny', 'call.path.split("/").all(p, call.path.lowerAscii() != p)'], ['allow', 'true']);
    const { result, ms } = timed(() => rules.decide({ ...call, path: '/abcdefghi'.repeat(250) }, noon));
    expect(result.rule).toBe('r0');
    expect(ms).toBeLessThan(100);
  });

  test.each([
    'call.path.split("/").exists(a, call.path.split("/").exists(b, a == b))',
    'call.path.split("/").exists(a, a.split("").exists(b, b == "x"))',
    'call.path.split("/").map(a, [a]).exists(a, a.exists(b, b == "x"))',
  ])('a walk over parts of the call inside another one is refused at load: %s', (when) => {
    expect(errorsOf(when).map(({ message }) => message)).toEqual([
      'a walk over parts of the call inside another one takes too long',
    ]);
  });

  test('walks whose length it does not choose may be nested', () => {
    expect(errorsOf('task.tools.exists(t, call.path.split("/").exists(p, p == t))')).toEqual([]);
    expect(errorsOf('call.path.split("/").exists(p, ["a", "b"].exists(t, p == t))')).toEqual([]);
  });
});

describe('what is remembered', () => {
  test('is bounded, in number and in length', () => {
    const rules = rulesFor(['allow', 'call.method == "GET" && call.path.startsWith("/api/")']);
    for (let i = 0; i < 2000; i++) {
      expect(rules.decide({ ...call, path: `/api/${i}` }, noon).effect).toBe('allow');
      expect(rules.decide({ ...call, path: `/other/${i}` }, noon).effect).toBe('deny');
    }
    expect(rules.remembered).toBe(256);
    const fresh = rulesFor(['allow', 'call.path.startsWith("/api/")']);
    expect(fresh.decide({ ...call, path: `/api/${'x'.repeat(1000)}` }, noon).effect).toBe('allow');
    expect(fresh.remembered).toBe(0);
  });

  test('is told apart by every fact that the rules read', () => {
    const rules = rulesFor([
      'allow',
      'call.host == "a" && call.mcp.tool == "1:b" && call.port == 1 && call.scheme == "https" && call.mcp.args_digest == ""',
    ]);
    const right = { ...call, host: 'a', port: 1, mcp: { tool: '1:b', args_digest: '' } };
    const wrong = [
      { ...right, host: 'a1:b', mcp: { tool: '', args_digest: '' } },
      { ...right, port: 11 },
      { ...right, scheme: 'http' },
      { ...right, mcp: { tool: '1:b', args_digest: 'x' } },
      { ...right, mcp: undefined },
    ];
    for (let round = 0; round < 2; round++) {
      expect(rules.decide(right, noon).effect).toBe('allow');
      for (const other of wrong) expect(rules.decide(other, noon).effect).toBe('deny');
    }
  });

  test('is nothing where a rule reads the time', () => {
    const rules = rulesFor(['allow', 'call.method == "GET" && now < timestamp("2026-01-15T12:00:00Z")']);
    expect(rules.decide(call, noon - 1).effect).toBe('allow');
    expect(rules.decide(call, noon).effect).toBe('deny');
    expect(rules.remembered).toBe(0);
  });

  test('is shared by tasks only where no rule reads the task', () => {
    const late = 'call.method == "GET"';
    const other = { ...task, purpose: 'other' };
    const reading = compile(['allow', `${late} && task.purpose == "reconcile invoices"`]).forTool(crm);
    expect(reading.forTask(task).decide(call, noon).effect).toBe('allow');
    expect(reading.forTask(other).decide(call, noon).effect).toBe('deny');
    const notReading = compile(['allow', late]).forTool(crm);
    expect(notReading.forTask(task)).toBe(notReading.forTask(other));
  });
});

describe('the hot path', () => {
  const rules = [
    ['allow', 'call.tool == "crm" && task.purpose == "reconcile invoices"'],
    ['require-approval', 'tool.risk in ["payment", "export"]'],
    ['deny', 'size(chain.path) > 4', 'observe'],
  ] as const satisfies readonly Shorthand[];

  test('gives the same frozen decision where no rule reads the call', () => {
    const ofTask = rulesFor(...rules);
    const first = ofTask.decide(call, noon);
    expect(ofTask.decide({ ...call, path: '/other', method: 'POST' }, noon + 1)).toBe(first);
    expect(Object.isFrozen(first) && Object.isFrozen(first.observed)).toBe(true);
    expect(ofTask.remembered).toBe(0);
  });

  test.each([
    ['without rules that read the call', rules],
    ['with one that does, for calls seen before', [...rules, ['deny', 'call.tool == "crm" && call.method == "PUT"']]],
  ] as const)('costs little %s', tries, (_, some) => {
    const ofTask = rulesFor(...some);
    const rounds = 200_000;
    let allowed = 0;
    const { ms } = timed(() => {
      for (let i = 0; i < rounds; i++) if (ofTask.decide(call, noon).effect === 'allow') allowed++;
    });
    expect(allowed).toBe(rounds);
    expect((ms * 1000) / rounds).toBeLessThan(5);
  });
});
