import { RE2JS } from '@bufbuild/re2';
import { celMethod, isCelError, isCelList, type CelFunc, type CelValue } from '@bufbuild/cel';
import { strings } from '@bufbuild/cel/ext';

/**
 * A rule is written by the operator, but what it reads (a path of up to 16 KiB) is written by the agent. RE2 is linear in the text, but
 * text times program: `[ab]*a[ab]{1000}$` on 16 KiB stops the loop for 1.3 s. So each evaluation may spend this much work (at most about
 * 70 ms in the worst automaton, far less otherwise); what needs more is an error, which denies in a deny and does not allow in an allow.
 */
const maxWork = 262_144;
/** A larger program could not read even a short path within the work above. */
const maxPatternStates = 1024;
const maxParts = 256;

/** The work that the present evaluation may still do. Evaluation is synchronous, so one meter serves all rules of an engine. */
export class WorkMeter {
  #left = maxWork;

  reset(): void {
    this.#left = maxWork;
  }

  spend(work: number): void {
    this.#left -= work;
    if (this.#left < 0) throw new Error('the rule needs too much work for a value of this length');
  }
}

/** Compiled patterns of `matches`. The checker admits literals only, so their number is that of the rules' literals. */
export class Patterns {
  readonly #meter: WorkMeter;
  readonly #compiled = new Map<string, { test(text: string): boolean }>();

  constructor(meter: WorkMeter) {
    this.#meter = meter;
  }

  /** Throws where the pattern is not RE2 syntax or too large. cel-es by itself compiles anew in each evaluation (20 us). */
  compile(pattern: string): { test(text: string): boolean } {
    const ready = this.#compiled.get(pattern);
    if (ready !== undefined) return ready;
    const regex = RE2JS.compile(pattern);
    const states = regex.re2().prog.numInst();
    if (states > maxPatternStates) {
      throw new Error(`the pattern has ${states} states, more than ${maxPatternStates}: use smaller repetitions`);
    }
    const meter = this.#meter;
    const matcher = {
      test(text: string): boolean {
        meter.spend(text.length * states);
        return regex.test(text);
      },
    };
    this.#compiled.set(pattern, matcher);
    return matcher;
  }
}

/** The strings extension of CEL, each function paid for from the meter. */
export function meteredStrings(meter: WorkMeter): CelFunc[] {
  return strings.map((original) => {
    const { name, target } = original;
    if (target === undefined) return original;
    return celMethod(name, target, original.arguments, original.result, function (...args: CelValue[]) {
      meter.spend(workOf(name, this, args));
      const result = original.call(0, this, args);
      if (result === undefined || isCelError(result)) throw result ?? new Error(`${name} does not apply`);
      // A list that the agent made long would be walked by exists() and all() at microseconds an element.
      if (name === 'split' && isCelList(result) && result.size > maxParts) {
        throw new Error(`split gives more than ${maxParts} parts`);
      }
      return result;
    });
  });
}

function workOf(name: string, target: CelValue, args: readonly CelValue[]): number {
  if (isCelList(target)) return target.size;
  if (typeof target !== 'string') return 1;
  const [from, to] = args;
  if (name !== 'replace' || typeof from !== 'string' || typeof to !== 'string') return target.length;
  // Each replacement copies the text: many in a long text are quadratic, and cheap a byte.
  const count = from === '' ? target.length : target.split(from).length - 1;
  return target.length + (count * (target.length + count * to.length)) / 64;
}
