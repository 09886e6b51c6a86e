import { Refusal } from '../refusal.ts';
import { excessOf } from '../delegation/may.ts';
import type { Attributed } from '../identify/ladder.ts';
import type { Origin } from '../intercept/origin.ts';
import type { Tool } from '../intercept/tool-catalogue.ts';
import type { Errand, Task } from '../tasks/task.ts';
import type { CompiledRules, Decision, TaskFacts, TaskRules, ToolFacts, ToolRules } from './rules.ts';

/** A call that the rules allow, with the decision that let it through. */
class PermittedCall {
  readonly #made = true;
  readonly attributed: Attributed;
  readonly decision: Decision;

  constructor(attributed: Attributed, decision: Decision) {
    this.attributed = attributed;
    this.decision = decision;
  }

  static isMade(value: object): boolean {
    return #made in value;
  }
}

export type ExitPermit = PermittedCall;

/** A refusal that a rule gave: which one stands in the event. */
export class RuleRefusal extends Refusal {
  readonly decision: Decision;

  constructor(code: 'denied_by_rule' | 'approval_required', detail: string, decision: Decision) {
    super(code, detail);
    this.decision = decision;
  }
}

/** Port: hears every decision, for the metric of rules that only observe. */
export interface DecisionObserver {
  decided(decision: Decision): void;
}

/** The rules of one configuration, split per tool and task: what does not read the call is evaluated once (DESIGN 12). */
export class Desk {
  readonly #byTool: ReadonlyMap<string, ToolRules>;
  readonly #byErrand = new WeakMap<Errand, TaskRules>();
  readonly #withoutTask = new Map<string, TaskRules>();
  readonly #observer: DecisionObserver;

  constructor(rules: CompiledRules, tools: readonly Tool[], observer: DecisionObserver) {
    this.#byTool = new Map(tools.map((tool) => [tool.name, rules.forTool(toolFacts(tool))]));
    this.#observer = observer;
  }

  /**
   * Decides a call: deny > require > allow > default deny. What the task and the tool themselves forbid is said first, since no rule
   * can allow it.
   */
  decide(attributed: Attributed, nowMs: number): ExitPermit {
    const { call, errand } = attributed;
    if (errand !== undefined) checkErrand(errand, call.tool, call.target.origin);
    // TRACE answers with the request as the tool got it: our credential would be in it (W3).
    if (call.tool.credentialed && /^TRAC[EK]$/i.test(call.method))
      throw new Refusal('message_malformed', 'TRACE is not sent to tools with a credential.');
    const rules = errand === undefined ? this.#rulesWithoutTask(call.tool.name) : this.#rulesOf(errand);
    const { origin } = call.target;
    const decision = rules.decide(
      { method: call.method, scheme: origin.scheme, host: origin.host, port: origin.port, path: call.path },
      nowMs,
    );
    this.#observer.decided(decision);
    if (decision.effect === 'allow') return new PermittedCall(attributed, decision);
    throw refusalOf(decision);
  }

  #rulesOf(errand: Errand): TaskRules {
    let rules = this.#byErrand.get(errand);
    if (rules === undefined) {
      rules = this.#toolRules(errand.tool).forTask(taskFacts(errand.task));
      this.#byErrand.set(errand, rules);
    }
    return rules;
  }

  #rulesWithoutTask(tool: string): TaskRules {
    let rules = this.#withoutTask.get(tool);
    if (rules === undefined) {
      rules = this.#toolRules(tool).forTask(noTask);
      this.#withoutTask.set(tool, rules);
    }
    return rules;
  }

  #toolRules(tool: string): ToolRules {
    const rules = this.#byTool.get(tool);
    if (rules === undefined) throw new Error('a call to a tool that has no rules');
    return rules;
  }
}

function checkErrand(errand: Errand, tool: Tool, origin: Origin): void {
  const { task } = errand;
  if (!task.tools.has(tool.name)) throw new Refusal('tool_not_in_task', `The task may not use ${tool.name}.`);
  if (!tool.credentialed) return;
  if (!mayActFor(tool, task.subject.kind)) throw new Refusal('subject_required');
  // Whether or not the tool is shown the chain: the user's token is used for it, and nobody may use it for more than was delegated.
  const { risk, token } = tool.settings;
  const excess = task.chain && excessOf(task.chain.may, { resource: token?.resource ?? origin.text, risk });
  if (excess !== undefined)
    throw new Refusal('tool_not_in_task', `The delegation of this task does not reach ${tool.name} (${excess}).`);
}

/**
 * Whether a tool is used for such a subject: a user may use any; a workload or the agent itself only what is marked for them, and not
 * where a user's token would have to be exchanged, since there is none.
 */
function mayActFor({ settings }: Tool, kind: Task['subject']['kind']): boolean {
  if (kind === 'user') return true;
  if (needsSubject(settings.token)) return false;
  const { on_behalf_of: onBehalfOf } = settings;
  return onBehalfOf === 'any' || onBehalfOf === kind;
}

/** Whether the configuration demands a grant that hands in the token of a user. */
function needsSubject(token: Tool['settings']['token']): boolean {
  const { grant, assertion } = token ?? {};
  return grant !== undefined && grant !== 'client_credentials' && assertion !== 'workload';
}

export function refusalOf(decision: Decision): Refusal {
  if (decision.effect === 'require-approval') {
    return new RuleRefusal(
      'approval_required',
      `Rule ${decision.rule} asks for an approval of this call, and nobody here can give one.`,
      decision,
    );
  }
  const detail =
    decision.rule === 'default'
      ? 'No rule allows this call, and what is not allowed is denied.'
      : `Blocked by rule ${decision.rule}.`;
  return new RuleRefusal('denied_by_rule', detail, decision);
}

function toolFacts(tool: Tool): ToolFacts {
  return {
    name: tool.name,
    risk: tool.settings.risk,
    sensitivity: tool.settings.sensitivity,
    binding: tool.binding,
  };
}

function taskFacts(task: Task): TaskFacts {
  return {
    txn: task.txn,
    purpose: task.purpose,
    mode: task.standing ? 'standing' : 'detached',
    tools: [...task.tools],
    subject: { iss: task.subject.iss, sub: task.subject.sub },
    caller: { spiffe_id: task.caller },
    chain: { path: task.chain?.path ?? [], length: task.chain?.path.length ?? 0 },
  };
}

const noTask: TaskFacts = {
  txn: '',
  purpose: '',
  mode: '',
  tools: [],
  subject: { iss: '', sub: '' },
  caller: { spiffe_id: '' },
  chain: { path: [], length: 0 },
};
