import {
  compileRules,
  RuleErrors,
  type CompiledRules,
  type RuleFinding,
  type RuleSettings,
} from '../../proxy/decide/rules.ts';
import type { CallFacts, TaskFacts, ToolFacts } from '../../proxy/decide/facts.ts';

/** Facts that the tests of rules start from. */
export const agent = {
  name: 'invoice-bot',
  owner: 'payments@example.org',
  purpose: 'reconcile invoices',
  environment: 'production',
  spiffe_id: 'spiffe://example.org/invoice-bot',
};

export const crm: ToolFacts = { name: 'crm', risk: 'read', sensitivity: 'internal', binding: 'key' };
export const tickets: ToolFacts = { name: 'tickets', risk: 'payment', sensitivity: '', binding: 'audience' };

export const task: TaskFacts = {
  txn: 'txn-1',
  purpose: 'reconcile invoices',
  mode: 'detached',
  tools: ['crm', 'tickets'],
  subject: { iss: 'https://sso.example.org', sub: 'alice' },
  caller: { spiffe_id: '' },
  chain: { path: ['spiffe://example.org/planner'], length: 1 },
};

export const call: CallFacts = {
  method: 'GET',
  scheme: 'https',
  host: 'crm.example.org',
  port: 443,
  path: '/api/customers/42',
};

export const noon = Date.UTC(2026, 0, 15, 12);

/** `allow: 'call.tool == "crm"'` as one rule; names are r0, r1, … */
export type Shorthand = readonly [effect: RuleSettings['effect'], when: string, mode?: RuleSettings['mode']];

export function compile(...rules: readonly Shorthand[]): CompiledRules {
  return compileRules(
    rules.map(([effect, when, mode], index) => ({ name: `r${index}`, effect, when, mode: mode ?? 'enforce' })),
    { agent, environment: 'production', tools: [crm, tickets] },
  );
}

/** What is wrong with these conditions; empty if nothing is. */
export function errorsOf(...whens: readonly string[]): readonly RuleFinding[] {
  try {
    compile(...whens.map((when) => ['allow', when] as const));
    return [];
  } catch (error) {
    if (error instanceof RuleErrors) return error.errors;
    throw error;
  }
}
