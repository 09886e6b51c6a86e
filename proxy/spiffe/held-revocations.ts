import { RevocationList } from './revocation-list.ts';

/** Other revocation lists are in force than before. */
export interface RevocationEvent {
  readonly kind: 'revocations.updated';
  readonly lists: number;
}

/** The revocation lists in force: two streams send them, each the full state of what it knows. */
export class HeldRevocations {
  readonly #onEvent: (event: RevocationEvent) => void;
  readonly #bySource = new Map<string, readonly RevocationList[]>();
  #current: readonly RevocationList[] = [];

  constructor(onEvent: (event: RevocationEvent) => void) {
    this.#onEvent = onEvent;
  }

  /** All lists, each once; the same object until something changes. */
  current(): readonly RevocationList[] {
    return this.#current;
  }

  /** Replaces the lists of one source. What says the same stays the same object, so nobody checks anew because of it. */
  take(source: string, next: readonly RevocationList[]): void {
    this.#bySource.set(source, next);
    const all = new Map(this.#current.map((list) => [list.digest, list]));
    const wanted = new Map(
      [...this.#bySource.values()].flat().map((list) => [list.digest, all.get(list.digest) ?? list]),
    );
    if (wanted.size === all.size && [...wanted.keys()].every((digest) => all.has(digest))) return;
    this.#current = [...wanted.values()];
    this.#onEvent({ kind: 'revocations.updated', lists: this.#current.length });
  }
}
