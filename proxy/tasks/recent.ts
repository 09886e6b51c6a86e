/**
 * The last so many of things that come and go all the time: when it is full, the oldest is forgotten. Every step costs the same. (To ask
 * a Map or a Set for its first key walks over everything that was deleted since its table was last made anew, and to shift a long
 * array moves all of it.)
 */
export class Recent<Key, Value> {
  readonly #max: number;
  readonly #values = new Map<Key, Value>();
  /** Keys as a ring, in the order in which they came. */
  readonly #keys: Key[] = [];
  #next = 0;

  constructor(max: number) {
    this.#max = max;
  }

  /** Remembers a thing under a key that was never added before. */
  add(key: Key, value: Value): void {
    const oldest = this.#keys[this.#next];
    if (oldest !== undefined) this.#values.delete(oldest);
    this.#keys[this.#next] = key;
    this.#next = (this.#next + 1) % this.#max;
    this.#values.set(key, value);
  }

  get(key: Key): Value | undefined {
    return this.#values.get(key);
  }

  has(key: Key): boolean {
    return this.#values.has(key);
  }

  /** Oldest first. */
  values(): IterableIterator<Value> {
    return this.#values.values();
  }
}
