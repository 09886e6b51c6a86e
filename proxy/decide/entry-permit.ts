import type { ChainFacts } from '../delegation/chain.ts';
import type { Tool } from '../intercept/tool-catalogue.ts';
import type { Claimed } from '../verify/claim.ts';
import type { InboundToken } from '../verify/inbound-token.ts';
import type { Verified } from '../verify/verify.ts';
import { refusalOf, type DecisionObserver } from './permit.ts';
import type { CompiledRules, Decision, TaskFacts, TaskRules, ToolRules } from './rules.ts';

/** A claimed request that the rules let in. */
class PermittedEntry {
  readonly #made = true;
  readonly claimed: Claimed;
  readonly decision: Decision;

  constructor(claimed: Claimed, decision: Decision) {
    this.claimed = claimed;
    this.decision = decision;
  }

  static isMade(value: object): boolean {
    return #made in value;
  }
}

export type EntryPermit = PermittedEntry;

/** Name of the decision that lets a verified caller in where no rule speaks: `inbound` itself says who may come. */
const admitted: Decision = Object.freeze({ effect: 'allow', rule: 'inbound', mode: 'enforce', observed: [] });

const maxKept = 2048;

interface Newest {
  readonly caller: string;
  readonly chain: ChainFacts | undefined;
  readonly rules: TaskRules;
}

/** The rules on the way in: deny and require-approval hold as everywhere; what they leave open, `inbound` has allowed by name. */
export class EntryDesk {
  readonly #rules: ToolRules;
  readonly #purpose: string;
  readonly #observer: DecisionObserver;
  readonly #kept = new Map<string, TaskRules>();
  /** The newest of each token: nearly every request is like the one before. */
  readonly #newest = new WeakMap<InboundToken, Newest>();

  /** @param purpose that of tasks whose callers name none (`agent.purpose`): rules are to see the one that the task is opened with. */
  constructor(rules: CompiledRules, program: Tool, purpose: string, observer: DecisionObserver) {
    const { risk, sensitivity } = program.settings;
    this.#rules = rules.forTool({ name: program.name, risk, sensitivity, binding: 'request' });
    this.#purpose = purpose;
    this.#observer = observer;
  }

  decide(claimed: Claimed, nowMs: number): EntryPermit {
    const { call } = claimed.verified;
    const { scheme, host, port } = call.target.origin;
    const rules = this.#rulesFor(claimed.verified);
    const made = rules.decide({ method: call.method, scheme, host, port, path: call.path }, nowMs);
    const decision =
      made.rule === 'default'
        ? made.observed.length === 0
          ? admitted
          : { ...admitted, observed: made.observed }
        : made;
    this.#observer.decided(decision);
    if (decision.effect === 'allow') return new PermittedEntry(claimed, decision);
    throw refusalOf(decision);
  }

  #rulesFor(verified: Verified): TaskRules {
    const { token, caller, chain } = verified;
    const newest = token && this.#newest.get(token);
    if (newest?.caller === caller && newest.chain === chain) return newest.rules;
    const rules = this.#findRules(verified);
    if (token !== undefined) this.#newest.set(token, { caller, chain, rules });
    return rules;
  }

  #findRules({ token, caller, chain }: Verified): TaskRules {
    const path = chain?.path ?? [];
    const purpose = chain?.purpose ?? this.#purpose;
    const subject = { iss: token?.iss ?? '', sub: token?.sub ?? caller };
    const key = JSON.stringify([subject.iss, subject.sub, caller, purpose, path]);
    let rules = this.#kept.get(key);
    if (rules === undefined) {
      const facts: TaskFacts = {
        txn: '',
        purpose,
        mode: 'request',
        tools: [],
        subject,
        caller: { spiffe_id: caller },
        chain: { path, length: path.length },
      };
      rules = this.#rules.forTask(facts);
      if (this.#kept.size >= maxKept) this.#kept.clear();
      this.#kept.set(key, rules);
    }
    return rules;
  }
}
