/** Remembers what was worked out, for a bounded number of keys; the one that was not asked for longest is forgotten first. */
export class Memo<Value> {
  readonly #capacity: number;
  readonly #values = new Map<string, Value>();

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get(key: string): Value | undefined {
    const value = this.#values.get(key);
    // A Map keeps the order of insertion, so the last one that was used goes to the end.
    if (value !== undefined && this.#values.delete(key)) this.#values.set(key, value);
    return value;
  }

  set(key: string, value: Value): void {
    this.#values.delete(key);
    this.#values.set(key, value);
    if (this.#values.size > this.#capacity) this.#values.delete(this.#values.keys().next().value ?? key);
  }

  delete(key: string): void {
    this.#values.delete(key);
  }
}
