import { celEnv, parse, plan, type CelEnv } from '@bufbuild/cel';
import type { CelBindings } from './cel-bindings.ts';
import { checkRule, type Findings } from './cel-check.ts';
import { meteredStrings, Patterns, WorkMeter } from './cel-functions.ts';
import { factsIn, syntaxFinding, type Expr, type Finding } from './cel-syntax.ts';
import { known, type Condition, type Verdict } from './condition.ts';

/** CEL with the strings extension (https://cel.dev), evaluated by @bufbuild/cel. One engine serves the rules of one configuration. */
export class CelEngine {
  readonly #meter = new WorkMeter();
  readonly #env: CelEnv;
  readonly #tools: readonly string[];

  /** @param tools names of the catalogue, for warnings. */
  constructor(tools: readonly string[]) {
    this.#tools = tools;
    this.#env = celEnv({ funcs: meteredStrings(this.#meter), re2: new Patterns(this.#meter) });
  }

  /** Parses and checks a rule's text. The condition is to be used only if there are no problems; otherwise it is an error. */
  compile(text: string): Findings & { readonly condition: Condition<CelBindings> } {
    let parsed: ReturnType<typeof parse>;
    try {
      // A comment must end with a line for this parser.
      parsed = parse(`${text}\n`);
    } catch (error) {
      return { problems: [syntaxFinding(text, error)], warnings: [], condition: known('error') };
    }
    const { problems, warnings } = checkRule(this.#env, parsed.expr, parsed.sourceInfo?.positions ?? {}, this.#tools);
    return {
      problems: problems.map((finding) => placeAtWord(text, finding)),
      warnings: warnings.map((finding) => placeAtWord(text, finding)),
      condition: problems.length === 0 ? this.#conditionOf(parsed.expr) : known('error'),
    };
  }

  #conditionOf(expr: Expr): Condition<CelBindings> {
    const call = expr.exprKind.case === 'callExpr' ? expr.exprKind.value : undefined;
    const parts = call?.args ?? [];
    if (call?.function === '_&&_') return { kind: 'all', parts: parts.map((part) => this.#conditionOf(part)) };
    if (call?.function === '_||_') return { kind: 'any', parts: parts.map((part) => this.#conditionOf(part)) };
    const [only] = parts;
    if (call?.function === '!_' && only !== undefined) return { kind: 'not', part: this.#conditionOf(only) };
    const evaluate = plan(this.#env, expr);
    const meter = this.#meter;
    return {
      kind: 'leaf',
      reads: factsIn(expr),
      test(bindings): Verdict {
        meter.reset();
        // Never throws: what goes wrong inside is a CelError, which like a value of another type is neither true nor false.
        const value = evaluate(bindings);
        return typeof value === 'boolean' ? value : 'error';
      },
    };
  }
}

/** The parser places some operators at the blank before them. */
function placeAtWord(text: string, { offset, message }: Finding): Finding {
  return { offset: offset + (/^\s*/.exec(text.slice(offset))?.[0].length ?? 0), message };
}
