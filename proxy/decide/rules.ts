import { bindTask, bindTool, type CelBindings } from './engines/cel-bindings.ts';
import { CelEngine } from './engines/cel.ts';
import { readsOf, settle } from './engines/condition.ts';
import { facts, type AgentFacts, type TaskFacts, type ToolFacts } from './facts.ts';
import { TaskRules, type Judged } from './task-rules.ts';

export type { TaskFacts, ToolFacts } from './facts.ts';
export type { Decision, TaskRules } from './task-rules.ts';

/** One entry of `rules` in the configuration. */
export interface RuleSettings {
  readonly name: string;
  readonly effect: 'allow' | 'deny' | 'require-approval';
  /** A CEL expression over the facts of `facts.ts`. */
  readonly when: string;
  readonly mode: 'enforce' | 'observe';
}

/** What is wrong with, or doubtful about, this setting of `rules[index]`; `offset` counts UTF-16 units from the start of its text. */
export interface RuleFinding {
  readonly index: number;
  readonly setting: 'name' | 'when';
  readonly name: string;
  readonly offset: number;
  readonly message: string;
}

/** Every error of every rule, so that a person mends them in one go. */
export class RuleErrors extends Error {
  readonly errors: readonly RuleFinding[];

  constructor(errors: readonly RuleFinding[]) {
    super(errors.map(({ name, message }) => `rule ${name}: ${message}`).join('\n'));
    this.name = 'RuleErrors';
    this.errors = errors;
  }
}

interface FixedFacts {
  readonly agent: AgentFacts;
  readonly environment: string;
  /** The catalogue: a rule that names another tool gets a warning. */
  readonly tools: readonly { readonly name: string }[];
}

/**
 * Compiles the rules of a configuration once. Throws `RuleErrors` with all that is wrong in all of them: syntax, names, types, patterns,
 * constants that fail, and a rule named `default` (the name of the decision that no rule made).
 */
export function compileRules(rules: readonly RuleSettings[], fixed: FixedFacts): CompiledRules {
  const engine = new CelEngine(fixed.tools.map((tool) => tool.name));
  const errors: RuleFinding[] = [];
  const warnings: RuleFinding[] = [];
  const judged = rules.map((rule, index): Judged => {
    const { problems, warnings: doubts, condition } = engine.compile(rule.when);
    const { name } = rule;
    if (name === 'default')
      errors.push({ index, setting: 'name', name, offset: 0, message: 'no rule may be named default' });
    const at = { index, setting: 'when', name } as const;
    errors.push(...problems.map((finding) => ({ ...at, ...finding })));
    warnings.push(...doubts.map((finding) => ({ ...at, ...finding })));
    return { rule, condition };
  });
  if (errors.length > 0) throw new RuleErrors(errors);
  return new CompiledRules(judged, fixed, warnings);
}

/** The rules of one configuration, before any fact but those of the configuration is known. */
export class CompiledRules {
  /** Rules that load but may not do what was meant. */
  readonly warnings: readonly RuleFinding[];
  readonly #rules: readonly Judged[];
  readonly #fixed: FixedFacts;

  constructor(rules: readonly Judged[], fixed: FixedFacts, warnings: readonly RuleFinding[]) {
    this.#rules = rules;
    this.#fixed = fixed;
    this.warnings = warnings;
  }

  /** Whether any rule reads `call.path`: paths that a tool could read otherwise must then be refused (W2). */
  readsPath(): boolean {
    return this.#rules.some(({ condition }) => readsOf(condition).has('call.path'));
  }

  /** The same rules for an agent under another identity. No text is read again: rules are compiled before any fact is known. */
  as(agent: AgentFacts): CompiledRules {
    return new CompiledRules(this.#rules, { ...this.#fixed, agent }, this.warnings);
  }

  /** Decides what depends on the configuration and the tool alone. Called once a tool, at load. */
  forTool(tool: ToolFacts): ToolRules {
    const bindings = bindTool(this.#fixed.agent, this.#fixed.environment, tool);
    return new ToolRules(settleAll(this.#rules, 'tool', bindings), bindings);
  }
}

/** The rules for calls to one tool. */
export class ToolRules {
  readonly #rules: readonly Judged[];
  readonly #bindings: CelBindings;
  /** Where no rule reads the task, all tasks share one set of rules and what it remembers. */
  readonly #readsTask: boolean;
  #shared: TaskRules | undefined;

  constructor(rules: readonly Judged[], bindings: CelBindings) {
    this.#rules = rules;
    this.#bindings = bindings;
    this.#readsTask = rules.some(({ condition }) =>
      [...readsOf(condition)].some((name) => facts[name].known === 'task'),
    );
  }

  /** Decides what depends on the task as well. Called once a task and tool; its result is kept with the task. */
  forTask(task: TaskFacts): TaskRules {
    if (this.#shared !== undefined) return this.#shared;
    const bindings = bindTask(this.#bindings, task);
    const rules = new TaskRules(settleAll(this.#rules, 'task', bindings), bindings);
    if (!this.#readsTask) this.#shared = rules;
    return rules;
  }
}

function settleAll(rules: readonly Judged[], moment: 'tool' | 'task', bindings: CelBindings): readonly Judged[] {
  return rules.map(({ rule, condition }) => ({ rule, condition: settle(condition, moment, bindings) }));
}
