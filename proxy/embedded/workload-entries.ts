import type { X509SvidResponse } from '../spiffe/service-definition.ts';
import type { Authority } from './authority.ts';

/** A registration: an identity that the caller of this socket has. `hint` is the operator's name for it. */
export interface WorkloadEntry {
  readonly spiffeId: string;
  readonly hint?: string;
}

/** Told of every new state; `denied`: the last entry is gone. */
export interface EntryListener {
  updated(): void;
  denied(): void;
}

/** The identities behind one socket: their current X509-SVIDs, renewed at half of their life, and who wants to hear of it. */
export class WorkloadEntries {
  readonly #authority: Authority;
  readonly #ttlSeconds: number;
  readonly #listeners = new Set<EntryListener>();
  #entries: readonly WorkloadEntry[] = [];
  #svids: X509SvidResponse['svids'] = [];
  #timer: NodeJS.Timeout | undefined;
  #version = 0;

  constructor(authority: Authority, ttlSeconds: number) {
    this.#authority = authority;
    this.#ttlSeconds = ttlSeconds;
  }

  /** The entries that have their SVIDs; empty: nobody is registered. */
  get current(): readonly WorkloadEntry[] {
    return this.#entries;
  }

  /** What FetchX509SVID sends now. */
  x509Svids(): X509SvidResponse['svids'] {
    return this.#svids;
  }

  /** Replaces all entries and issues their SVIDs; listeners hear of it when they are there. None: listeners are sent away. */
  async set(entries: readonly WorkloadEntry[]): Promise<void> {
    clearTimeout(this.#timer);
    this.#version += 1;
    const version = this.#version;
    // SPIRE sends no empty update here: it ends the streams, which is what clients must understand as the loss of their identity.
    if (entries.length === 0) {
      this.#entries = [];
      this.#svids = [];
      for (const listener of this.#listeners) listener.denied();
      return;
    }
    const bundle = this.#authority.bundle().x509Der;
    const svids = await Promise.all(
      entries.map(async ({ spiffeId, hint = '' }) => {
        const { chainDer, keyDer } = await this.#authority.issueX509(spiffeId, this.#ttlSeconds);
        return { spiffe_id: spiffeId, x509_svid: chainDer, x509_svid_key: keyDer, bundle, hint };
      }),
    );
    // While the keys were made the entries may have been removed or replaced: what came later is what counts.
    if (version !== this.#version) return;
    this.#entries = entries;
    this.#svids = svids;
    this.#timer = setTimeout(() => void this.rotate(), (this.#ttlSeconds * 1000) / 2);
    this.announce();
  }

  /** New keys and certificates for the same entries. */
  rotate(): Promise<void> {
    return this.set(this.#entries);
  }

  /** Sends the present state to everybody, changed or not, as SPIRE does. */
  announce(): void {
    for (const listener of this.#listeners) listener.updated();
  }

  /** Adds a listener until the returned function is called. */
  listen(listener: EntryListener): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** Ends renewal; also what is being issued at this moment is not announced. */
  close(): void {
    this.#version += 1;
    clearTimeout(this.#timer);
    this.#listeners.clear();
  }
}
