import type { SettingPath } from './config-errors.ts';

/** The value at a path of what was written; undefined where there is none. */
export function valueAt(written: unknown, path: SettingPath): unknown {
  let value = written;
  for (const step of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
    value = Reflect.get(value, step);
  }
  return value;
}

/**
 * What the file says, before and whether or not its parts are well-formed. The cross checks read it, so that they report together
 * with the faults of form; each asks only for what it needs and passes over what is of another form.
 */
export class Written {
  readonly #value: unknown;

  constructor(value: unknown) {
    this.#value = value;
  }

  has(path: SettingPath): boolean {
    return valueAt(this.#value, path) !== undefined;
  }

  /** Text, or undefined where there is none. */
  text(path: SettingPath): string | undefined {
    const value = valueAt(this.#value, path);
    return typeof value === 'string' ? value : undefined;
  }

  isMapping(path: SettingPath): boolean {
    const value = valueAt(this.#value, path);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  }

  /** The names in a mapping, in the order of the file. */
  names(path: SettingPath): readonly string[] {
    return this.isMapping(path) ? Object.keys(Object(valueAt(this.#value, path))) : [];
  }

  /** The positions of a list that hold text, or of one text that stands for a list. */
  texts(path: SettingPath): readonly (readonly [SettingPath, string])[] {
    const value = valueAt(this.#value, path);
    if (typeof value === 'string') return [[path, value]];
    const list: readonly unknown[] = Array.isArray(value) ? value : [];
    return list.flatMap((item, index) => (typeof item === 'string' ? [[[...path, index], item] as const] : []));
  }

  /** How many entries a list has. */
  count(path: SettingPath): number {
    const value = valueAt(this.#value, path);
    return Array.isArray(value) ? value.length : 0;
  }

  /** Whether a switch is on. */
  isOn(path: SettingPath): boolean {
    return valueAt(this.#value, path) === true;
  }
}
