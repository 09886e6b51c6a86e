import type { Bundles } from './bundles.ts';
import { MalformedAnswer } from './identity-unavailable.ts';

/** The bundles of these trust domains came, changed or went. */
export interface BundleEvent {
  readonly kind: 'bundle.updated';
  readonly profile: 'x509' | 'jwt';
  readonly trustDomains: readonly string[];
}

/** The bundles in force of one profile: each answer replaces all of them, and what it does not name is no longer trusted. */
export class HeldBundles<Content> {
  readonly #profile: BundleEvent['profile'];
  readonly #onEvent: (event: BundleEvent) => void;
  #bundles: Bundles<Content> = new Map();
  #contents: ReadonlyMap<string, Content> = new Map();

  constructor(profile: BundleEvent['profile'], onEvent: (event: BundleEvent) => void) {
    this.#profile = profile;
    this.#onEvent = onEvent;
  }

  /** Content by trust domain; the same object until something changes. */
  current(): ReadonlyMap<string, Content> {
    return this.#contents;
  }

  /** Takes the full state of an answer. One without any bundle drops all and throws MalformedAnswer, so that it is reported. */
  take(next: Bundles<Content>): void {
    // Replaced before it is reported: trusting nobody is the safe reading of an answer that names nobody.
    this.#replace(next);
    if (next.size === 0) throw new MalformedAnswer('the answer holds no bundle');
  }

  /** Trusts nobody any more. */
  drop(): void {
    this.#replace(new Map());
  }

  #replace(next: Bundles<Content>): void {
    const held = this.#bundles;
    const names = new Set([...held.keys(), ...next.keys()]);
    const changed = [...names].filter((name) => held.get(name)?.digest !== next.get(name)?.digest);
    if (changed.length === 0) return;
    this.#bundles = next;
    this.#contents = new Map([...next].map(([name, bundle]) => [name, bundle.content]));
    this.#onEvent({ kind: 'bundle.updated', profile: this.#profile, trustDomains: changed.toSorted() });
  }
}
