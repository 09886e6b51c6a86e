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

/** What the parser threw, as one short sentence at its place. */
export function syntaxFinding(thrown: unknown): Finding {
  // The parser is recursive: a rule nested a thousand deep ends its stack, not ours.
  if (thrown instanceof RangeError) return { offset: 0, message: 'syntax error: the rule is nested too deeply' };
  const message = thrown instanceof Error ? thrown.message : 'not a CEL expression';
  const place = placeOf(thrown);
  const found = message.replace(/^<input>:\d+:\d+: /, '');
  return { offset: place, message: `syntax error: ${clarify(found)}` };
}

function clarify(message: string): string {
  if (message.startsWith('found = but')) return 'found =; two values are compared with ==';
  // A list of all sixteen things that may begin a value helps nobody.
  return message.replace(/but expecting .{80,}$/s, 'where a value was expected').replace('but expecting', 'where');
}

function placeOf(thrown: unknown): number {
  if (!(thrown instanceof Error) || !('location' in thrown)) return 0;
  const { location } = thrown;
  if (typeof location !== 'object' || location === null || !('start' in location)) return 0;
  const { start } = location;
  if (typeof start !== 'object' || start === null || !('offset' in start)) return 0;
  return typeof start.offset === 'number' ? start.offset : 0;
}
