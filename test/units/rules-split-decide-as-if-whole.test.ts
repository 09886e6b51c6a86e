import { isCelError, run, type CelInput } from '@bufbuild/cel';
import { strings } from '@bufbuild/cel/ext';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import type { CallFacts, TaskFacts, ToolFacts } from '../../proxy/decide/facts.ts';
import { compileRules, type RuleSettings } from '../../proxy/decide/rules.ts';
import { agent, noon } from './rules-facts.ts';

/** Conditions of every moment, some of which fail for some facts or are no truth values. */
const atoms = fc.constantFrom(
  'true',
  'false',
  'environment == "production"',
  'agent.name.startsWith("invoice")',
  'agent.owner.split("@")[2] == "x"',
  'tool.risk == "read"',
  'tool.binding in ["key", "request"]',
  'call.tool == "crm"',
  'tool.sensitivity.matches("^(secret|internal)$")',
  'dyn(tool.name)',
  'task.purpose == "a"',
  'task.tools.exists(t, t == call.tool)',
  'task.tools[1] == "crm"',
  'size(chain.path) > 1',
  'chain.length > 1',
  'chain.path.all(hop, hop.startsWith("spiffe://a/"))',
  'subject.sub == "alice"',
  'caller.spiffe_id != ""',
  'int(task.txn) > 1',
  'call.method == "GET"',
  'call.port == 443',
  '10 / (call.port - 443) > 0',
  'call.path.startsWith("/a")',
  'call.path.matches("^/a/[0-9]+$")',
  'call.path.split("/").exists(part, part in task.tools)',
  'call.path.split("/")[2] == "1"',
  'call.host.endsWith(tool.name)',
  'call.mcp.tool == task.purpose',
  'dyn(call.path)',
  'now > timestamp("2026-01-15T12:00:00Z")',
);

const conditions = fc.letrec<{ any: string }>((tie) => ({
  any: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    atoms,
    fc.tuple(tie('any'), tie('any')).map(([a, b]) => `(${a}) && (${b})`),
    fc.tuple(tie('any'), tie('any')).map(([a, b]) => `(${a}) || (${b})`),
    fc.tuple(tie('any'), tie('any'), tie('any')).map(([a, b, c]) => `(${a}) || (${b}) || (${c})`),
    tie('any').map((a) => `!(${a})`),
    fc.tuple(atoms, tie('any'), tie('any')).map(([a, b, c]) => `(${a}) ? (${b}) : (${c})`),
  ),
})).any;

const ruleSets = fc
  .array(
    fc.record({
      effect: fc.constantFrom<RuleSettings['effect']>('allow', 'deny', 'require-approval'),
      when: conditions,
      mode: fc.constantFrom<RuleSettings['mode']>('enforce', 'enforce', 'observe'),
    }),
    { maxLength: 7 },
  )
  .map((rules) => rules.map((rule, index): RuleSettings => ({ name: `r${index}`, ...rule })));

const tools: fc.Arbitrary<ToolFacts> = fc.record({
  name: fc.constantFrom('crm', 'tickets'),
  risk: fc.constantFrom('read', 'payment'),
  sensitivity: fc.constantFrom('', 'internal', 'secrets'),
  binding: fc.constantFrom('key', 'audience'),
});

const tasks: fc.Arbitrary<TaskFacts> = fc
  .record({
    txn: fc.constantFrom('1', '2', 'x'),
    purpose: fc.constantFrom('a', 'b', ''),
    tools: fc.subarray(['tickets', 'crm', 'mail']),
    sub: fc.constantFrom('alice', 'bob'),
    caller: fc.constantFrom('', 'spiffe://a/planner'),
    path: fc.subarray(['spiffe://a/1', 'spiffe://a/2', 'spiffe://b/1']),
  })
  .map(({ txn, purpose, tools: allowed, sub, caller, path }) => ({
    txn,
    purpose,
    mode: 'detached',
    tools: allowed,
    subject: { iss: 'https://sso.example.org', sub },
    caller: { spiffe_id: caller },
    chain: { path, length: path.length },
  }));

const calls: fc.Arbitrary<CallFacts> = fc.record({
  method: fc.constantFrom('GET', 'POST'),
  scheme: fc.constant('https'),
  host: fc.constantFrom('my-crm', 'tickets'),
  port: fc.constantFrom(443, 444, 8443),
  path: fc.constantFrom('/', '/a', '/a/1', '/a/x', '/mail/1'),
  mcp: fc.constantFrom(undefined, { tool: 'a', args_digest: '' }),
});

/** The rules as DESIGN 8 says them, every rule whole and for each call, over records as CEL's own maps. */
function decideNaively(
  rules: readonly RuleSettings[],
  tool: ToolFacts,
  task: TaskFacts,
  call: CallFacts,
  now: number,
): object {
  const variables: Record<string, CelInput> = {
    agent,
    environment: agent.environment,
    tool: { ...tool },
    task: { txn: task.txn, purpose: task.purpose, mode: task.mode, tools: [...task.tools] },
    subject: task.subject,
    caller: task.caller,
    chain: { path: [...task.chain.path], length: BigInt(task.chain.length) },
    call: { ...call, tool: tool.name, port: BigInt(call.port), mcp: call.mcp ?? { tool: '', args_digest: '' } },
    now: run(`timestamp("${new Date(now).toISOString()}")`) as CelInput,
  };
  const matches = (rule: RuleSettings): boolean => {
    const value = run(rule.when, variables, { funcs: strings });
    if (!isCelError(value) && typeof value === 'boolean') return value;
    return rule.effect !== 'allow' || rule.mode === 'observe';
  };
  const matching = rules.filter(matches);
  const decisive = (['deny', 'require-approval', 'allow'] as const)
    .map((effect) => matching.find((rule) => rule.mode === 'enforce' && rule.effect === effect))
    .find((rule) => rule !== undefined);
  return {
    effect: decisive?.effect ?? 'deny',
    rule: decisive?.name ?? 'default',
    mode: 'enforce',
    observed: matching.filter((rule) => rule.mode === 'observe').map(({ name, effect }) => ({ rule: name, effect })),
  };
}

test('deciding the parts of rules at load, per task and per call gives what evaluating them whole per call gives', () => {
  const clock = fc.constantFrom(noon - 1, noon, noon + 1);
  const moment = fc.record({ call: calls, now: clock });
  let compared = 0;
  const property = fc.property(
    ruleSets,
    fc.array(tools, { minLength: 1, maxLength: 2 }),
    fc.array(tasks, { minLength: 1, maxLength: 2 }),
    fc.array(moment, { minLength: 1, maxLength: 5 }),
    (rules, someTools, someTasks, moments) => {
      const compiled = compileRules(rules, { agent, environment: agent.environment, tools: [{ name: 'crm' }] });
      for (const tool of someTools) {
        const ofTool = compiled.forTool(tool);
        const byTask = someTasks.map((task) => ({ task, ofTask: ofTool.forTask(task) }));
        // Interleaved and twice: what one task or call left behind must not reach another.
        for (const { call, now } of [...moments, ...moments])
          for (const { task, ofTask } of byTask) {
            expect(ofTask.decide(call, now)).toEqual(decideNaively(rules, tool, task, call, now));
            compared++;
          }
      }
    },
  );
  fc.assert(property, { numRuns: 400 });
  expect(compared).toBeGreaterThan(1000);
}, 120_000);
