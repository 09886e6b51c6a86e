import { isCelError, plan, type CelEnv, type CelType } from '@bufbuild/cel';
import { facts, isFact, type FactName } from '../facts.ts';
import { suggest } from './cel-names.ts';
import { dottedNames, isConstant, type Expr } from './cel-syntax.ts';
import { BOOL, commonType, describeType, describeUse, DYN, isComparable, isSame, resultOf } from './cel-types.ts';

type Call = Extract<Expr['exprKind'], { case: 'callExpr' }>['value'];
type Use = { readonly type: CelType } | { readonly problem: string };

/** Macros are expanded by the parser; one that reaches the checker was written with the wrong arguments. */
const macros: ReadonlyMap<string, string> = new Map([
  ['has', 'has(map.member)'],
  ['exists', 'list.exists(x, condition on x)'],
  ['all', 'list.all(x, condition on x)'],
  ['exists_one', 'list.exists_one(x, condition on x)'],
  ['filter', 'list.filter(x, condition on x)'],
  ['map', 'list.map(x, value made of x)'],
]);

/** How a macro is written that was not, or undefined for other calls. */
export function explainMacro({ function: name }: Call): string | undefined {
  const use = macros.get(name);
  return use === undefined ? undefined : `${name} is written ${use}`;
}

/** The result type of a function or operator with operands of these types, or why it has none. */
export function typeOfUse(
  funcs: CelEnv['funcs'],
  name: string,
  target: CelType | undefined,
  args: readonly CelType[],
): Use {
  const [first = DYN, second = DYN, third = DYN] = args;
  switch (name) {
    case '_&&_':
    case '_||_':
    case '!_': {
      const wrong = args.find((type) => !isSame(type, BOOL));
      return wrong === undefined ? { type: BOOL } : { problem: `${describeType(wrong)} is neither true nor false` };
    }
    case '@not_strictly_false':
      return { type: BOOL };
    case '_?_:_':
      if (!isSame(first, BOOL)) return { problem: `${describeType(first)} is neither true nor false` };
      return { type: commonType([second, third]) };
    case '_[_]':
      return typeOfElement(first, second);
    case '_==_':
    case '_!=_':
      if (isComparable(first, second)) return { type: BOOL };
      return { problem: `${describeType(first)} is never equal to ${describeType(second)}` };
    case '@in': {
      const element = second.kind === 'list' ? second.element : DYN;
      if (!isComparable(first, element))
        return {
          problem: `${describeType(first)} is never an element of a list whose elements are each ${describeType(element)}`,
        };
      break;
    }
    default:
  }
  const overloads = funcs.find(name);
  if (overloads === undefined) return { problem: explainUnknown(funcs, name) };
  const type = resultOf(overloads, target, args);
  return type === undefined ? { problem: `there is no ${describeUse(name, target, args)}` } : { type };
}

function typeOfElement(owner: CelType, index: CelType): Use {
  if (owner === DYN) return { type: DYN };
  if (owner.kind === 'map') return { type: owner.value };
  if (owner.kind !== 'list') return { problem: `${describeType(owner)} has no elements` };
  if (['int', 'uint', 'double', 'dyn'].includes(index.name)) return { type: owner.element };
  return { problem: `the elements of a list have numbers, and ${describeType(index)} is none` };
}

function explainUnknown(funcs: CelEnv['funcs'], name: string): string {
  const named = [...funcs].map((known) => known.name).filter((known) => /^[a-z]/i.test(known));
  return `unknown function ${name}${suggest(name, [...named, ...macros.keys()])}`;
}

/**
 * A pattern must be a literal: one that comes with the call would be compiled per call, and would be the agent's own program.
 * @returns what is wrong with it, if anything.
 */
export function checkPattern(env: CelEnv, call: Call): string | undefined {
  if (call.function !== 'matches') return undefined;
  const constant = call.args[0]?.exprKind;
  if (constant?.case !== 'constExpr' || constant.value.constantKind.case !== 'stringValue') {
    return 'the pattern of matches must be a string in the rule itself';
  }
  const outcome = env.funcs.find('matches')?.call(0, '', [constant.value.constantKind.value]);
  return isCelError(outcome) ? `unusable pattern: ${outcome.message}` : undefined;
}

/** What a constant call fails with, such as `timestamp("tomorrow")` or `1 / 0`: it would fail in every evaluation. */
export function findFailure(env: CelEnv, expr: Expr): string | undefined {
  if (!isConstant(expr)) return undefined;
  const value = plan(env, expr)();
  return isCelError(value) ? value.message : undefined;
}

/** A comparison of a fact with a literal that it never is; `certain` unless only the present catalogue says so. */
export function checkEquality(
  call: Call,
  tools: readonly string[],
): { readonly message: string; readonly certain: boolean } | undefined {
  if (!['_==_', '_!=_', '@in'].includes(call.function)) return undefined;
  const [left, right] = call.args;
  if (left === undefined || right === undefined) return undefined;
  const fact = factOf(left) ?? (call.function === '@in' ? undefined : factOf(right));
  if (fact === undefined) return undefined;
  const isTool = fact === 'tool.name' || fact === 'call.tool';
  const possible = isTool ? tools : closedValues(fact);
  if (possible === undefined) return undefined;
  const wrong = literalsIn(factOf(left) === undefined ? left : right).find((literal) => !possible.includes(literal));
  if (wrong === undefined) return undefined;
  const message = isTool ? `no tool is named ${JSON.stringify(wrong)}` : `${fact} is never ${JSON.stringify(wrong)}`;
  return { message: `${message}${suggest(wrong, possible)}`, certain: !isTool };
}

function factOf(expr: Expr): FactName | undefined {
  const name = dottedNames(expr)?.join('.');
  return name !== undefined && isFact(name) ? name : undefined;
}

function closedValues(name: FactName): readonly string[] | undefined {
  const fact = facts[name];
  return 'values' in fact ? fact.values : undefined;
}

function literalsIn({ exprKind }: Expr): readonly string[] {
  if (exprKind.case === 'listExpr') return exprKind.value.elements.flatMap(literalsIn);
  if (exprKind.case !== 'constExpr' || exprKind.value.constantKind.case !== 'stringValue') return [];
  return [exprKind.value.constantKind.value];
}
