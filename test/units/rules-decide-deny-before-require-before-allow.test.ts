import { describe, expect, test } from 'vitest';
import { call, compile, crm, noon, task, tickets, type Shorthand } from './rules-facts.ts';

const decide = (rules: readonly Shorthand[], tool = crm, path = call.path): ReturnType<typeof short> =>
  short(
    compile(...rules)
      .forTool(tool)
      .forTask(task)
      .decide({ ...call, path }, noon),
  );
const short = ({ effect, rule }: { effect: string; rule: string }): string => `${effect} ${rule}`;

/** Conditions decided at load, with the task and per call, each true. */
const moments = ['tool.risk == "read"', 'task.purpose == "reconcile invoices"', 'call.path.startsWith("/api/")'];
/** Conditions decided at each moment that fail: no such element, no number, division by zero. */
const failing = ['agent.name.split("-")[7] == "x"', 'task.tools[5] == "x"', '1 / (call.port - 443) == 1'];

describe('precedence', () => {
  test('what no rule allows is denied (W9)', () => {
    expect(decide([])).toBe('deny default');
    expect(decide([['allow', 'call.tool == "tickets"']])).toBe('deny default');
  });

  test.each(moments.flatMap((deny) => moments.flatMap((require) => moments.map((allow) => [deny, require, allow]))))(
    'deny > require > allow, whenever each is decided: %s, %s, %s',
    (deny, require, allow) => {
      const denying = ['deny', deny] as const;
      const requiring = ['require-approval', require] as const;
      const allowing = ['allow', allow] as const;
      expect(decide([allowing, requiring, denying])).toBe('deny r2');
      expect(decide([allowing, requiring])).toBe('require-approval r1');
      expect(decide([denying, allowing])).toBe('deny r0');
      expect(decide([allowing])).toBe('allow r0');
    },
  );

  test('the first rule of the deciding effect is named, whenever it is decided', () => {
    const late = 'call.method == "GET"';
    expect(
      decide([
        ['allow', late],
        ['allow', 'true'],
      ]),
    ).toBe('allow r0');
    expect(
      decide([
        ['allow', 'true'],
        ['allow', late],
      ]),
    ).toBe('allow r0');
    expect(
      decide([
        ['deny', late],
        ['deny', 'tool.name == "crm"'],
        ['allow', 'true'],
      ]),
    ).toBe('deny r0');
  });

  test('a rule is decided for the tool of the call', () => {
    const rules = [
      ['allow', 'call.tool == "crm" && call.method == "GET"'],
      ['require-approval', 'tool.risk in ["payment", "export"]'],
    ] as const;
    expect(decide(rules)).toBe('allow r0');
    expect(decide(rules, tickets)).toBe('require-approval r1');
  });
});

describe('an error closes', () => {
  test.each(failing)('in a deny it denies, in a require it requires, in an allow it does not allow: %s', (failure) => {
    expect(
      decide([
        ['deny', failure],
        ['allow', 'true'],
      ]),
    ).toBe('deny r0');
    expect(
      decide([
        ['require-approval', failure],
        ['allow', 'true'],
      ]),
    ).toBe('require-approval r0');
    expect(decide([['allow', failure]])).toBe('deny default');
  });

  test.each(failing)('also under a negation: %s', (failure) => {
    expect(
      decide([
        ['deny', `!(${failure})`],
        ['allow', 'true'],
      ]),
    ).toBe('deny r0');
    expect(decide([['allow', `!(${failure})`]])).toBe('deny default');
  });

  test('a condition that turns out to be no truth value is an error', () => {
    expect(
      decide([
        ['deny', 'dyn(call.path)'],
        ['allow', 'true'],
      ]),
    ).toBe('deny r0');
    expect(decide([['allow', 'dyn(tool.name)']])).toBe('deny default');
  });

  test('false && error is false and true || error is true, on either side', () => {
    for (const failure of failing) {
      expect(
        decide([
          ['deny', `${failure} && call.method == "PUT"`],
          ['allow', 'true'],
        ]),
      ).toBe('allow r1');
      expect(
        decide([
          ['deny', `call.method == "PUT" && ${failure}`],
          ['allow', 'true'],
        ]),
      ).toBe('allow r1');
      expect(decide([['allow', `${failure} || call.method == "GET"`]])).toBe('allow r0');
    }
  });
});

describe('mode: observe', () => {
  test('a rule that observes never decides and is reported when it matches, in the order of the configuration', () => {
    const rules = compile(
      ['deny', 'call.path.startsWith("/api/")', 'observe'],
      ['allow', 'true'],
      ['require-approval', 'tool.risk == "read"', 'observe'],
      ['allow', 'task.purpose == "something else"', 'observe'],
    );
    const decision = rules.forTool(crm).forTask(task).decide(call, noon);
    expect(decision).toEqual({
      effect: 'allow',
      rule: 'r1',
      mode: 'enforce',
      observed: [
        { rule: 'r0', effect: 'deny' },
        { rule: 'r2', effect: 'require-approval' },
      ],
    });
    const other = rules
      .forTool(crm)
      .forTask(task)
      .decide({ ...call, path: '/other' }, noon);
    expect(other.observed).toEqual([{ rule: 'r2', effect: 'require-approval' }]);
  });

  test.each(failing)('an error in it is reported, also of an allow: %s', (failure) => {
    const rules = compile(['allow', failure, 'observe'], ['deny', failure, 'observe']);
    expect(rules.forTool(crm).forTask(task).decide(call, noon)).toEqual({
      effect: 'deny',
      rule: 'default',
      mode: 'enforce',
      observed: [
        { rule: 'r0', effect: 'allow' },
        { rule: 'r1', effect: 'deny' },
      ],
    });
  });
});

describe('facts', () => {
  test.each([
    'agent.name == "invoice-bot" && agent.owner == "payments@example.org" && agent.purpose == "reconcile invoices"',
    'agent.environment == "production" && environment == "production"',
    'agent.spiffe_id == "spiffe://example.org/invoice-bot"',
    'caller.spiffe_id == ""',
    'subject.iss == "https://sso.example.org" && subject.sub == "alice"',
    'task.txn == "txn-1" && task.purpose == "reconcile invoices" && task.mode == "detached"',
    'call.tool in task.tools && task.tools.exists(t, t == call.tool)',
    'call.method == "GET" && call.scheme == "https" && call.host == "crm.example.org"',
    'call.port == 443 && type(call.port) == int && call.port + 1 == 444',
    'call.path == "/api/customers/42" && call.path.split("/")[1] == "api"',
    'call.mcp.tool == "" && call.mcp.args_digest == ""',
    'tool.name == "crm" && tool.risk == "read" && tool.sensitivity == "internal" && tool.binding == "key"',
    'size(chain.path) == 1 && chain.length == 1 && type(chain.length) == int && chain.path[0] == "spiffe://example.org/planner"',
    'now == timestamp("2026-01-15T12:00:00Z") && now.getHours() == 12 && now - duration("1h") < now',
    'call.path.upperAscii().lowerAscii().matches("^/api/customers/[0-9]+$")',
    '.call.tool == "crm"',
  ])('a rule reads %s', (when) => {
    expect(decide([['allow', when]])).toBe('allow r0');
    expect(decide([['allow', `!(${when})`]])).toBe('deny default');
  });

  test('the facts of an MCP call', () => {
    const rules = compile(['allow', 'call.mcp.tool == "create_issue" && call.mcp.args_digest.startsWith("sha-256=")']);
    const mcp = { tool: 'create_issue', args_digest: 'sha-256=:abc:' };
    expect(
      rules
        .forTool(crm)
        .forTask(task)
        .decide({ ...call, mcp }, noon).effect,
    ).toBe('allow');
    expect(rules.forTool(crm).forTask(task).decide(call, noon).effect).toBe('deny');
  });

  test('whether paths are ruled is known at load (W2)', () => {
    expect(compile(['allow', 'call.method == "GET"']).readsPath()).toBe(false);
    expect(compile(['allow', 'true'], ['deny', '!(tool.name == "crm" && call.path.contains("x"))']).readsPath()).toBe(
      true,
    );
    expect(compile(['allow', 'task.tools.exists(t, call.path.contains(t))', 'observe']).readsPath()).toBe(true);
  });
});
