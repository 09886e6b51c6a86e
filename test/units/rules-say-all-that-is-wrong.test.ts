import { describe, expect, test } from 'vitest';
import { compileRules, RuleErrors } from '../../proxy/decide/rules.ts';
import { agent, compile, errorsOf } from './rules-facts.ts';

describe('a rule that cannot be meant is not loaded', () => {
  test.each([
    ['cal.tool == "crm"', 0, 'unknown variable cal; did you mean call?'],
    ['call.tool == "crm" && task.porpose == "x"', 22, 'task has no member porpose; did you mean purpose?'],
    ['call.mcp.tol == ""', 0, 'call.mcp has no member tol; did you mean tool?'],
    ['call.tool.name == ""', 0, 'call.tool is a string and has no member name'],
    ['constructor == ""', 0, 'unknown variable constructor'],
    ['task.toString == ""', 0, 'task has no member toString'],
    ['call == "crm"', 0, 'call is a record; name one of its members, such as call.tool'],
    ['(call.port == 1 ? call : {"a": 1}).name == ""', 18, 'call is a record'],
    [
      'has(caller.spiffe_id)',
      4,
      'has(caller.spiffe_id) is always true: what does not apply is ""; write caller.spiffe_id != ""',
    ],
    ['has(subject.email)', 4, 'subject has no member email'],
    ['has(task.porpose)', 4, 'task has no member porpose; did you mean purpose?'],
    ['has(call.mcp)', 4, 'call.mcp is a record; name one of its members'],
    ['has(chain.path)', 4, 'has(chain.path) is always true; leave it out'],
    ['call.path.startWith("/")', 9, 'unknown function startWith; did you mean startsWith?'],
    ['call.path.startsWith(3)', 9, 'there is no string.startsWith(int)'],
    ['task.tools.exists(t)', 10, 'exists is written list.exists(x, condition on x)'],
    ['task.tools.exists(call, call == "crm")', 10, 'call is a variable of the rules'],
    ['call.port.exists(p, true)', 0, 'an int has no elements'],
    ['call.port == "443"', 10, 'an int is never equal to a string'],
    ['call.port in task.tools', 10, 'an int is never an element'],
    ['call.port && true', 0, 'an int is neither true nor false'],
    ['tool.risk in ["payment", "exprt"]', 10, 'tool.risk is never "exprt"; did you mean export?'],
    ['"Key" == tool.binding', 6, 'tool.binding is never "Key"; did you mean key?'],
    ['call.tool', 0, 'the rule is a string, but must be true or false'],
    ['1', 0, 'the rule is an int, but must be true or false'],
    ['"true"', 0, 'the rule is a string, but must be true or false'],
    ['now > timestamp("tomorrow")', 6, 'always fails'],
    ['1 / 0 == call.port', 2, 'always fails'],
    ['call.port == 9223372036854775808', 13, 'does not fit into an int of 64 bits'],
    ['call.path.matches("(a")', 9, 'unusable pattern'],
    ['call.path.matches("[ab]{1000}[cd]{500}")', 9, 'the pattern has 1502 states'],
    ['call.path.matches(call.host)', 9, 'the pattern of matches must be a string in the rule itself'],
    ['now == google.protobuf.Timestamp{seconds: 1}', 7, 'rules know plain values only'],
    ['call.tool = "crm"', 10, 'two values are compared with =='],
    ['call.tool == "crm" and true', 19, 'unexpected and; it is written &&'],
    ['call.tool == ', 10, 'a value is missing or wrong after =='],
    ['call.tool == "crm', 10, 'a value is missing or wrong after =='],
    ['', 0, 'the rule ends where a value was expected'],
  ])('%s', (when, offset, message) => {
    const errors = errorsOf(when);
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatchObject({ index: 0, name: 'r0', offset });
    expect(errors[0]?.message).toContain(message);
  });

  test('one that is nested too deeply for the parser', () => {
    const errors = errorsOf(`${'('.repeat(5000)}true${')'.repeat(5000)}`);
    expect(errors.map(({ message }) => message)).toEqual(['syntax error: the rule is nested too deeply']);
  });

  test('every error of every rule is told at once', () => {
    const errors = errorsOf(
      'true',
      'cal.tool == "" || task.porpose == ""',
      'call.tool = ""',
      'call.method == "GET"',
      '1',
    );
    expect(errors.map(({ index, name, offset }) => [index, name, offset])).toEqual([
      [1, 'r1', 0],
      [1, 'r1', 18],
      [2, 'r2', 10],
      [4, 'r4', 0],
    ]);
  });

  test('what is wrong inside is not told again of what is around it', () => {
    expect(errorsOf('!(size(cal.tool) + 1 > 2 ? "a".matches("(") : call.port == "x")')).toHaveLength(3);
  });

  test('no rule may have the name of the decision that no rule made', () => {
    const rules = [{ name: 'default', effect: 'allow', when: 'true', mode: 'enforce' }] as const;
    expect(() => compileRules(rules, { agent, environment: '', tools: [] })).toThrow(RuleErrors);
  });
});

describe('a rule that may be meant is loaded', () => {
  test.each([
    'call.tool == "crm" && task.purpose == "reconcile invoices"',
    'tool.risk in ["payment", "export"]',
    'size(chain.path) > 4',
    'call.port > 442.5',
    'dyn(call.port) == "443"',
    'has({"a": 1}.a) && {"a": call.port}.a == 443',
    'task.tools.map(t, t + "!").filter(t, t.size() > 3) != []',
    'strings.quote(call.path) != ""',
    'now.getHours("Europe/Berlin") >= 8 // during the day',
    "call.host.matches(r'^[a-z]+\\.example\\.org$')",
  ])('%s', (when) => {
    expect(errorsOf(when)).toEqual([]);
  });

  test('one that names a tool outside the catalogue gives a warning, since rules are shared by sidecars', () => {
    const { warnings } = compile(['allow', 'call.tool in ["crm", "ticket"]'], ['allow', 'tool.name == "crm"']);
    expect(warnings).toEqual([
      {
        index: 0,
        setting: 'when',
        name: 'r0',
        offset: 10,
        message: 'no tool is named "ticket"; did you mean tickets?',
      },
    ]);
  });
});
