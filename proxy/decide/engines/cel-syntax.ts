import type { parse } from '@bufbuild/cel';
import { isFact, type FactName } from '../facts.ts';

export type Expr = ReturnType<typeof parse>['expr'];

/** Something to say about a rule's text: `offset` counts UTF-16 units from its start. */
export interface Finding {
  readonly offset: number;
  readonly message: string;
}

/** The names of `call.mcp.tool` in order, or undefined where the expression is not a plain chain of names. */
export function dottedNames(expr: Expr): readonly string[] | undefined {
  const { exprKind } = expr;
  // A leading dot means the outermost scope, and we have no other.
  if (exprKind.case === 'identExpr') return [exprKind.value.name.replace(/^\./, '')];
  if (exprKind.case !== 'selectExpr' || exprKind.value.testOnly || exprKind.value.operand === undefined)
    return undefined;
  const before = dottedNames(exprKind.value.operand);
  return before === undefined ? undefined : [...before, exprKind.value.field];
}

/** Every fact that an expression reads. Variables of macros never have the name of a record (the checker refuses that). */
export function factsIn(expr: Expr): ReadonlySet<FactName> {
  const found = new Set<FactName>();
  const visit = (inner: Expr): void => {
    const name = dottedNames(inner)?.join('.');
    if (name !== undefined && isFact(name)) found.add(name);
    else for (const child of childrenOf(inner)) visit(child);
  };
  visit(expr);
  return found;
}

/** Whether the value is the same whatever is bound. */
export function isConstant(expr: Expr): boolean {
  return expr.exprKind.case !== 'identExpr' && childrenOf(expr).every(isConstant);
}

/** Direct subexpressions, in the order in which they are written. */
export function childrenOf({ exprKind }: Expr): readonly Expr[] {
  switch (exprKind.case) {
    case 'selectExpr':
      return present([exprKind.value.operand]);
    case 'callExpr':
      return present([exprKind.value.target, ...exprKind.value.args]);
    case 'listExpr':
      return exprKind.value.elements;
    case 'structExpr':
      return exprKind.value.entries.flatMap(({ keyKind, value }) =>
        present([keyKind.case === 'mapKey' ? keyKind.value : undefined, value]),
      );
    case 'comprehensionExpr': {
      const { iterRange, accuInit, loopCondition, loopStep, result } = exprKind.value;
      return present([iterRange, accuInit, loopCondition, loopStep, result]);
    }
    default:
      return [];
  }
}

function present(exprs: readonly (Expr | undefined)[]): readonly Expr[] {
  return exprs.filter((expr) => expr !== undefined);
}

/** What the parser threw, as one short sentence at its place. Its own lists what could have stood there, up to sixteen things. */
export function syntaxFinding(text: string, thrown: unknown): Finding {
  // The parser is recursive: a rule nested a thousand deep ends its stack, not ours.
  if (thrown instanceof RangeError) return { offset: 0, message: 'syntax error: the rule is nested too deeply' };
  const offset = offsetOf(thrown);
  if (offset !== undefined)
    return { offset: Math.min(offset, text.length), message: `syntax error: ${explainRest(text.slice(offset))}` };
  return { offset: 0, message: `syntax error: ${thrown instanceof Error ? thrown.message : 'not CEL'}` };
}

/** @param rest the text from where the parser could not go on: it stops before an operator whose right side is wrong. */
function explainRest(rest: string): string {
  if (rest.trim() === '') return 'the rule ends where a value was expected';
  const word = /^[\p{L}_][\p{L}\p{N}_]*/u.exec(rest)?.[0];
  const operator = word === undefined ? undefined : logicWords.get(word.toLowerCase());
  if (operator !== undefined) return `unexpected ${word}; it is written ${operator}`;
  if (word !== undefined) return `unexpected ${word}`;
  if (/^=(?!=)/.test(rest)) return 'unexpected =; two values are compared with ==';
  const symbol = /^(==|!=|<=|>=|&&|\|\||[<>+*/%?:.-])/.exec(rest)?.[0];
  if (symbol !== undefined) return `a value is missing or wrong after ${symbol}`;
  if (/^["']/.test(rest)) return 'unexpected string, or one that does not end or has a wrong escape';
  return `unexpected ${String.fromCodePoint(rest.codePointAt(0) ?? 0)}`;
}

const logicWords: ReadonlyMap<string, string> = new Map([
  ['and', '&&'],
  ['or', '||'],
  ['not', '!'],
]);

function offsetOf(thrown: unknown): number | undefined {
  if (!(thrown instanceof Error) || !('location' in thrown)) return undefined;
  const { location } = thrown;
  if (typeof location !== 'object' || location === null || !('start' in location)) return undefined;
  const { start } = location;
  if (typeof start !== 'object' || start === null || !('offset' in start)) return undefined;
  return typeof start.offset === 'number' ? start.offset : undefined;
}
