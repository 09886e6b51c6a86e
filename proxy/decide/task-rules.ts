import { bindCall, type CelBindings } from './engines/cel-bindings.ts';
import { evaluate, readsOf, type Condition } from './engines/condition.ts';
import { facts, type CallFacts, type FactName } from './facts.ts';
import type { RuleSettings } from './rules.ts';

type Effect = RuleSettings['effect'];

/** A rule with what is left of its condition. */
export interface Judged {
  readonly rule: RuleSettings;
  readonly condition: Condition<CelBindings>;
}

/** What the rules say of one call: deny > require-approval > allow > default deny. */
export interface Decision {
  readonly effect: Effect;
  /** Name of the first rule of this effect that matched, or `default`. */
  readonly rule: string;
  /** A rule that only observes never decides. */
  readonly mode: 'enforce';
  /** Rules in `mode: observe` that matched, in the order of the configuration. */
  readonly observed: readonly Observed[];
}

interface Observed {
  readonly rule: string;
  readonly effect: Effect;
}

/** A decision that is made if its condition holds. */
interface Step {
  readonly condition: Condition<CelBindings>;
  readonly decision: Decision;
}

interface Observer {
  readonly condition: Condition<CelBindings>;
  readonly observed: Observed;
}

const precedence: readonly Effect[] = ['deny', 'require-approval', 'allow'];
const maxRemembered = 256;
/** The agent chooses paths: long ones are decided anew rather than kept 256 times for each task. */
const maxKeyLength = 512;

/**
 * The rules for the calls of one task to one tool: the hot path. What does not read the call was decided before; if nothing else is left,
 * each call gets the same frozen decision. Otherwise decisions are remembered by those facts of the call that the rules left still read.
 */
export class TaskRules {
  readonly #bindings: CelBindings;
  readonly #steps: readonly Step[];
  /** Made when no step's condition holds. */
  readonly #otherwise: Decision;
  readonly #observers: readonly Observer[];
  readonly #alwaysObserved: number;
  /** Undefined where the time is read, since then two equal calls may be decided differently. */
  readonly #keyFacts: readonly FactName[] | undefined;
  readonly #remembered = new Map<string, Decision>();
  readonly #settled: Decision | undefined;

  /** @param bindings facts of tool and task; those of each call are set in it. */
  constructor(rules: readonly Judged[], bindings: CelBindings) {
    this.#bindings = bindings;
    const judged = rules.map(({ rule, condition }) => ({ rule, condition: close(rule, condition) }));
    this.#observers = judged
      .filter(isPossible)
      .filter(({ rule }) => rule.mode === 'observe')
      .map(toObserver);
    const always = this.#observers.filter(({ condition }) => condition.kind === 'known');
    this.#alwaysObserved = always.length;
    const observed = Object.freeze(always.map((observer) => observer.observed));
    const enforced = judged.filter(({ rule }) => rule.mode === 'enforce');
    const { steps, otherwise } = planSteps(enforced, observed);
    this.#steps = steps;
    this.#otherwise = otherwise;
    const open = [...steps, ...this.#observers].map(({ condition }) => readsOf(condition));
    const reads = new Set(open.flatMap((names) => [...names]));
    this.#keyFacts = reads.has('now') ? undefined : keyFactsOf(reads);
    this.#settled = steps.length === 0 && this.#observers.length === always.length ? otherwise : undefined;
  }

  /** How many decisions are remembered at present: at most 256. */
  get remembered(): number {
    return this.#remembered.size;
  }

  /** @param nowMs milliseconds since the epoch, for rules that read `now`. */
  decide(call: CallFacts, nowMs: number): Decision {
    if (this.#settled !== undefined) return this.#settled;
    if (this.#keyFacts === undefined) return this.#evaluate(call, nowMs);
    const key = keyOf(call, this.#keyFacts);
    const before = this.#remembered.get(key);
    if (before !== undefined) return before;
    const decision = this.#evaluate(call, nowMs);
    if (key.length <= maxKeyLength) this.#remember(key, decision);
    return decision;
  }

  #evaluate(call: CallFacts, nowMs: number): Decision {
    bindCall(this.#bindings, call, nowMs);
    const decision = this.#firstThatHolds();
    if (this.#observers.length === this.#alwaysObserved) return decision;
    const matched = this.#observers.filter(({ condition }) => holds(condition, this.#bindings));
    if (matched.length === this.#alwaysObserved) return decision;
    return decisionOf(decision, Object.freeze(matched.map((observer) => observer.observed)));
  }

  #firstThatHolds(): Decision {
    for (const { condition, decision } of this.#steps) if (holds(condition, this.#bindings)) return decision;
    return this.#otherwise;
  }

  #remember(key: string, decision: Decision): void {
    if (this.#remembered.size >= maxRemembered) {
      const [oldest] = this.#remembered.keys();
      if (oldest !== undefined) this.#remembered.delete(oldest);
    }
    this.#remembered.set(key, decision);
  }
}

/** From here a condition is only true or not: an error closes, so it matches what denies, requires or observes, and allows nothing. */
function close(rule: RuleSettings, condition: Condition<CelBindings>): Condition<CelBindings> {
  const matchesOnError = rule.effect !== 'allow' || rule.mode === 'observe';
  if (condition.kind === 'known') {
    return { kind: 'known', verdict: condition.verdict === 'error' ? matchesOnError : condition.verdict };
  }
  return {
    kind: 'leaf',
    reads: readsOf(condition),
    test(bindings) {
      const verdict = evaluate(condition, bindings);
      return verdict === 'error' ? matchesOnError : verdict;
    },
  };
}

function holds(condition: Condition<CelBindings>, bindings: CelBindings): boolean {
  return evaluate(condition, bindings) === true;
}

function isPossible({ condition }: Judged): boolean {
  return condition.kind !== 'known' || condition.verdict === true;
}

function toObserver({ rule, condition }: Judged): Observer {
  return { condition, observed: Object.freeze({ rule: rule.name, effect: rule.effect }) };
}

/**
 * The open rules in the order in which they decide, up to the first that is known to match: nothing after it can be reached. Rules of one
 * effect keep the order of the configuration, which tells whose name an event bears.
 */
function planSteps(
  enforced: readonly Judged[],
  observed: readonly Observed[],
): { steps: readonly Step[]; otherwise: Decision } {
  const ordered = precedence
    .flatMap((effect) => enforced.filter(({ rule }) => rule.effect === effect))
    .filter(isPossible);
  const end = ordered.findIndex(({ condition }) => condition.kind === 'known');
  const last = end < 0 ? undefined : ordered[end];
  const open = end < 0 ? ordered : ordered.slice(0, end);
  const otherwise = last === undefined ? { effect: 'deny' as const, rule: 'default' } : ofRule(last);
  const steps = open.map((judged) => ({
    condition: judged.condition,
    decision: decisionOf(ofRule(judged), observed),
  }));
  return { steps, otherwise: decisionOf(otherwise, observed) };
}

function ofRule({ rule }: Judged): { effect: Effect; rule: string } {
  return { effect: rule.effect, rule: rule.name };
}

function decisionOf({ effect, rule }: { effect: Effect; rule: string }, observed: readonly Observed[]): Decision {
  return Object.freeze({ effect, rule, mode: 'enforce' as const, observed });
}

function keyFactsOf(reads: ReadonlySet<FactName>): readonly FactName[] {
  return [...reads].filter((name) => facts[name].known === 'call');
}

/** The lengths keep two calls apart whose facts run into one another. */
function keyOf(call: CallFacts, names: readonly FactName[]): string {
  let key = '';
  for (const name of names) {
    const value = factOf(call, name);
    key += `${value.length}:${value}`;
  }
  return key;
}

function factOf(call: CallFacts, name: FactName): string {
  switch (name) {
    case 'call.method':
      return call.method;
    case 'call.scheme':
      return call.scheme;
    case 'call.host':
      return call.host;
    case 'call.port':
      return String(call.port);
    case 'call.path':
      return call.path;
    case 'call.mcp.tool':
      return call.mcp?.tool ?? '';
    case 'call.mcp.args_digest':
      return call.mcp?.args_digest ?? '';
    default:
      // A fact of the call that is missing here would make different calls look alike.
      throw new Error(`${name} is not a fact of the call`);
  }
}
