import { CelScalar, listType, mapType, type CelEnv, type CelType } from '@bufbuild/cel';
import { checkEquality, checkPattern, explainMacro, findFailure, typeOfUse } from './cel-calls.ts';
import { isRoot, resolveNames } from './cel-names.ts';
import { childrenOf, dottedNames, factsIn, type Expr, type Finding } from './cel-syntax.ts';
import { BOOL, commonType, constantTypes, describeType, DYN, isSame, typeNames } from './cel-types.ts';
import { facts } from '../facts.ts';

type Kind<Case extends string> = Extract<Expr['exprKind'], { case: Case }>['value'];

/** A variable of a macro; `fromCall` where the agent decides how long the list is that it walks. */
interface Local {
  readonly type: CelType;
  readonly fromCall: boolean;
}
type Scope = ReadonlyMap<string, Local>;

export interface Findings {
  /** Reasons not to load the rule. */
  readonly problems: readonly Finding[];
  /** Comparisons with a tool that is not in the catalogue: rules may be shared by sidecars that have other tools. */
  readonly warnings: readonly Finding[];
}

/**
 * Checks what evaluation would only find per call, and then as an error that blocks everything or a rule that never matches: names,
 * functions, types where they are known, patterns, constants that fail, and comparisons that can never be true.
 * @param positions offsets by expression id, as the parser gives them.
 * @param tools names of the catalogue.
 */
export function checkRule(
  env: CelEnv,
  expr: Expr,
  positions: Readonly<Record<string, number>>,
  tools: readonly string[],
): Findings {
  const checker = new Checker(env, positions, tools);
  checker.checkWhole(expr);
  return { problems: checker.problems, warnings: checker.warnings };
}

class Checker {
  readonly problems: Finding[] = [];
  readonly warnings: Finding[] = [];
  readonly #env: CelEnv;
  readonly #positions: Readonly<Record<string, number>>;
  readonly #tools: readonly string[];

  constructor(env: CelEnv, positions: Readonly<Record<string, number>>, tools: readonly string[]) {
    this.#env = env;
    this.#positions = positions;
    this.#tools = tools;
  }

  checkWhole(expr: Expr): void {
    const type = this.#typeOf(expr, new Map());
    if (!isSame(type, BOOL)) this.#report(expr, `the rule is ${describeType(type)}, but must be true or false`);
  }

  /** The type of what is wrong is open, so that what surrounds it is not reported as well. */
  #report(expr: Expr, message: string): CelType {
    this.problems.push(this.#findingAt(expr, message));
    return DYN;
  }

  #findingAt(expr: Expr, message: string): Finding {
    // The parser places a member at its dot, a person looks for the beginning of the name.
    const { exprKind } = expr;
    const operand = exprKind.case === 'selectExpr' ? exprKind.value.operand : undefined;
    if (operand !== undefined) return this.#findingAt(operand, message);
    return { offset: this.#positions[String(expr.id)] ?? 0, message };
  }

  #typeOf(expr: Expr, scope: Scope): CelType {
    const { exprKind } = expr;
    switch (exprKind.case) {
      case 'constExpr':
        return this.#typeOfConstant(expr, exprKind.value);
      case 'identExpr':
        return this.#typeOfName(expr, scope);
      case 'selectExpr':
        return exprKind.value.testOnly ? this.#typeOfHas(expr, exprKind.value, scope) : this.#typeOfName(expr, scope);
      case 'callExpr':
        return this.#typeOfCall(expr, exprKind.value, scope);
      case 'listExpr':
        return listType(commonType(exprKind.value.elements.map((element) => this.#typeOf(element, scope))));
      case 'structExpr':
        if (exprKind.value.messageName !== '') return this.#report(expr, 'rules know plain values only, no messages');
        for (const child of childrenOf(expr)) this.#typeOf(child, scope);
        return mapType(DYN, DYN);
      case 'comprehensionExpr':
        return this.#typeOfMacro(expr, exprKind.value, scope);
      default:
        return this.#report(expr, 'not an expression');
    }
  }

  #typeOfConstant(expr: Expr, { constantKind }: Kind<'constExpr'>): CelType {
    // The parser takes literals of any length, and evaluation would compare with a number that no int can be.
    if (constantKind.case === 'int64Value' && BigInt.asIntN(64, constantKind.value) !== constantKind.value) {
      return this.#report(expr, `${constantKind.value} does not fit into an int of 64 bits`);
    }
    return constantTypes.get(constantKind.case) ?? this.#report(expr, 'unusable constant');
  }

  #typeOfName(expr: Expr, scope: Scope): CelType {
    const names = dottedNames(expr);
    const first = names?.[0];
    if (names === undefined || first === undefined || scope.has(first)) return this.#typeOfMember(expr, scope);
    if (names.length === 1 && typeNames.has(first)) return CelScalar.TYPE;
    const resolved = resolveNames(names);
    return 'type' in resolved ? resolved.type : this.#report(expr, resolved.problem);
  }

  /** A macro's variable, or a member of a value that is no variable of ours: only maps have members. */
  #typeOfMember({ exprKind }: Expr, scope: Scope): CelType {
    if (exprKind.case === 'identExpr') return scope.get(exprKind.value.name)?.type ?? DYN;
    if (exprKind.case !== 'selectExpr' || exprKind.value.operand === undefined) return DYN;
    const { operand, field } = exprKind.value;
    const owner = this.#typeOf(operand, scope);
    if (owner === DYN || owner.kind === 'map') return DYN;
    return this.#report(operand, `${describeType(owner)} has no member ${field}`);
  }

  #typeOfHas(expr: Expr, { operand, field }: Kind<'selectExpr'>, scope: Scope): CelType {
    const names = operand === undefined ? undefined : dottedNames(operand);
    if (names?.[0] !== undefined && isRoot(names[0])) {
      const resolved = resolveNames([...names, field]);
      if ('problem' in resolved) return this.#report(expr, resolved.problem);
      const name = [...names, field].join('.');
      const advice = isSame(resolved.type, CelScalar.STRING)
        ? `: what does not apply is ""; write ${name} != ""`
        : '; leave it out';
      return this.#report(expr, `has(${name}) is always true${advice}`);
    }
    if (operand !== undefined) this.#typeOf(operand, scope);
    return BOOL;
  }

  #typeOfCall(expr: Expr, call: Kind<'callExpr'>, scope: Scope): CelType {
    const misused = explainMacro(call);
    if (misused !== undefined) return this.#report(expr, misused);
    const reported = this.problems.length;
    const name = this.#qualifiedName(call) ?? call.function;
    const target = name === call.function && call.target !== undefined ? this.#typeOf(call.target, scope) : undefined;
    const args = call.args.map((arg) => this.#typeOf(arg, scope));
    const use = typeOfUse(this.#env.funcs, name, target, args);
    const problem = 'problem' in use ? use.problem : (checkPattern(this.#env, call) ?? undefined);
    if (problem !== undefined) return this.#report(expr, problem);
    const equality = checkEquality(call, this.#tools);
    if (equality !== undefined && !equality.certain) this.warnings.push(this.#findingAt(expr, equality.message));
    if (equality?.certain === true) return this.#report(expr, equality.message);
    const failure = this.problems.length === reported ? findFailure(this.#env, expr) : undefined;
    if (failure !== undefined) return this.#report(expr, `always fails: ${failure}`);
    return 'type' in use ? use.type : DYN;
  }

  /** `strings.quote`: a function whose name has a dot, and no method of a variable. */
  #qualifiedName(call: Kind<'callExpr'>): string | undefined {
    const names = call.target === undefined ? undefined : dottedNames(call.target);
    const name = names === undefined ? undefined : [...names, call.function].join('.');
    return name !== undefined && this.#env.funcs.find(name) !== undefined ? name : undefined;
  }

  #typeOfMacro(expr: Expr, macro: Kind<'comprehensionExpr'>, scope: Scope): CelType {
    const { iterVar, iterRange, accuVar, accuInit, loopCondition, loopStep, result } = macro;
    if (!iterRange || !accuInit || !loopCondition || !loopStep || !result)
      return this.#report(expr, 'incomplete macro');
    const range = this.#typeOf(iterRange, scope);
    // Otherwise a fact would be hidden from the split of DESIGN 12, which goes by names.
    if (isRoot(iterVar))
      this.#report(expr, `${iterVar} is a variable of the rules: choose another name for the element`);
    if (range !== DYN && range.kind !== 'list' && range.kind !== 'map') {
      return this.#report(iterRange, `${describeType(range)} has no elements`);
    }
    const fromCall = isFromCall(iterRange, scope);
    // 256 parts of a path, walked for each of 256 parts, stop the loop for half a second.
    if (fromCall && [...scope.values()].some((local) => local.fromCall)) {
      this.#report(expr, 'a walk over parts of the call inside another one takes too long');
    }
    const element = range.kind === 'list' ? range.element : range.kind === 'map' ? range.key : DYN;
    const inner = new Map(scope)
      .set(iterVar, { type: element, fromCall })
      .set(accuVar, { type: this.#typeOf(accuInit, scope), fromCall });
    this.#typeOf(loopCondition, inner);
    this.#typeOf(loopStep, inner);
    return this.#typeOf(result, inner);
  }
}

/** Whether the length of a list is up to the agent: it is made of facts of the call, or of elements of such a list. */
function isFromCall(range: Expr, scope: Scope): boolean {
  if ([...factsIn(range)].some((name) => facts[name].known === 'call')) return true;
  const visit = (expr: Expr): boolean => {
    const name = expr.exprKind.case === 'identExpr' ? expr.exprKind.value.name : undefined;
    return (name !== undefined && scope.get(name)?.fromCall === true) || childrenOf(expr).some(visit);
  };
  return visit(range);
}
