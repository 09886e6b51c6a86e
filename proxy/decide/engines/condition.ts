import { facts, type FactName, type Moment } from '../facts.ts';

/** What became of a condition. `error` is neither: the effect of the rule decides which way it closes. */
export type Verdict = boolean | 'error';

/**
 * A rule's condition as a tree of `&&`, `||` and `!` over leaves that an engine evaluates. The tree is ours, so that the parts of a rule
 * can be decided at different moments (DESIGN 12): `call.tool == "crm" && call.method == "GET"` is false for every other tool at load.
 */
export type Condition<Bindings> =
  | { readonly kind: 'known'; readonly verdict: Verdict }
  | { readonly kind: 'leaf'; readonly reads: ReadonlySet<FactName>; test(bindings: Bindings): Verdict }
  | { readonly kind: 'all' | 'any'; readonly parts: readonly Condition<Bindings>[] }
  | { readonly kind: 'not'; readonly part: Condition<Bindings> };

const order: Readonly<Record<Moment, number>> = { tool: 0, task: 1, call: 2 };

export const known = (verdict: Verdict): { readonly kind: 'known'; readonly verdict: Verdict } => ({
  kind: 'known',
  verdict,
});

/** Decides every part that reads nothing later than `moment`; `bindings` holds at least the facts of that moment. */
export function settle<B>(condition: Condition<B>, moment: Moment, bindings: B): Condition<B> {
  switch (condition.kind) {
    case 'known':
      return condition;
    case 'leaf':
      return isKnownBy(condition.reads, moment) ? known(condition.test(bindings)) : condition;
    case 'not': {
      const part = settle(condition.part, moment, bindings);
      return part.kind === 'known' ? known(negate(part.verdict)) : { kind: 'not', part };
    }
    default:
      return settleParts(condition.kind, condition.parts, moment, bindings);
  }
}

/** CEL's logic is commutative: `false && error` is false and `true || error` is true on whichever side the error stands. */
function settleParts<B>(
  kind: 'all' | 'any',
  parts: readonly Condition<B>[],
  moment: Moment,
  bindings: B,
): Condition<B> {
  const absorbing = kind === 'any';
  const open: Condition<B>[] = [];
  let failed = false;
  for (const part of parts) {
    const settled = settle(part, moment, bindings);
    if (settled.kind !== 'known') open.push(settled);
    else if (settled.verdict === absorbing) return known(absorbing);
    else if (settled.verdict === 'error') failed = true;
  }
  if (failed) open.push(known('error'));
  const [first, ...rest] = open;
  if (first === undefined) return known(!absorbing);
  return rest.length === 0 ? first : { kind, parts: open };
}

/** The verdict of all that was left, with every fact bound. */
export function evaluate<B>(condition: Condition<B>, bindings: B): Verdict {
  switch (condition.kind) {
    case 'known':
      return condition.verdict;
    case 'leaf':
      return condition.test(bindings);
    case 'not':
      return negate(evaluate(condition.part, bindings));
    default: {
      const absorbing = condition.kind === 'any';
      let failed = false;
      for (const part of condition.parts) {
        const verdict = evaluate(part, bindings);
        if (verdict === absorbing) return absorbing;
        if (verdict === 'error') failed = true;
      }
      return failed ? 'error' : !absorbing;
    }
  }
}

/** Every fact that the condition still reads. */
export function readsOf<B>(condition: Condition<B>): ReadonlySet<FactName> {
  switch (condition.kind) {
    case 'known':
      return new Set();
    case 'leaf':
      return condition.reads;
    case 'not':
      return readsOf(condition.part);
    default:
      return new Set(condition.parts.flatMap((part) => [...readsOf(part)]));
  }
}

function isKnownBy(reads: ReadonlySet<FactName>, moment: Moment): boolean {
  for (const name of reads) if (order[facts[name].known] > order[moment]) return false;
  return true;
}

function negate(verdict: Verdict): Verdict {
  return verdict === 'error' ? 'error' : !verdict;
}
