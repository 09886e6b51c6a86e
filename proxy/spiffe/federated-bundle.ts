import { parseBundleDocument, type BundleDocument } from './bundle-document.ts';
import type { JwtAuthority } from './bundles.ts';
import { EndpointUnavailable, type EndpointFault } from './bundle-endpoint.ts';
import { MalformedAnswer } from './identity-unavailable.ts';
import type { X509Bundle } from './x509-path.ts';

/** Port: asks for the document of a trust domain. Rejects with EndpointUnavailable. */
export interface BundleSource {
  fetch(): Promise<Buffer>;
}

/** Why a poll changed nothing. `rollback`: the document is older than the one that is held. */
export type PollFault = EndpointFault | 'malformed' | 'rollback';

/** What a holder of a federated bundle tells. */
export interface FederationEvents {
  /** Other keys are in force. */
  changed(trustDomain: string): void;
  failed(trustDomain: string, fault: PollFault): void;
}

/** Without a hint of the publisher (SPIFFE Trust Domain and Bundle, 4.1.2). */
const usualMs = 300_000;
/** A publisher that wants to be asked all the time gets this; one that never wants to be asked would keep revoked keys alive. */
const bounds = { shortestMs: 1000, longestMs: 3_600_000 };
/** While there is no bundle at all: nobody of the domain can be verified, and an endpoint that was away at the start soon comes. */
const hastyMs = 5000;

/** The bundle of one foreign trust domain, asked for again and again. It is never merged with that of another. */
export class FederatedBundle {
  readonly #trustDomain: string;
  readonly #source: BundleSource;
  readonly #events: FederationEvents;
  #document: BundleDocument | undefined;
  #x509: X509Bundle | undefined;
  #jwt: readonly JwtAuthority[] | undefined;
  /** The highest that was seen: a publisher who stops counting does not thereby win the right to begin again. */
  #sequence = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** @param bootstrap what is believed until the endpoint has answered. */
  constructor(
    trustDomain: string,
    source: BundleSource,
    bootstrap: BundleDocument | undefined,
    events: FederationEvents,
  ) {
    this.#trustDomain = trustDomain;
    this.#source = source;
    this.#events = events;
    if (bootstrap !== undefined) this.#keep(bootstrap);
  }

  /** Undefined as long as nothing is known. */
  x509(): X509Bundle | undefined {
    return this.#x509;
  }

  /** Undefined as long as nothing is known. */
  jwtAuthorities(): readonly JwtAuthority[] | undefined {
    return this.#jwt;
  }

  /** Asks once, keeps what comes, and asks again when its time has come. Never rejects. */
  async poll(): Promise<void> {
    clearTimeout(this.#timer);
    const fault = await this.#ask();
    if (this.#closed) return;
    if (fault !== undefined) this.#events.failed(this.#trustDomain, fault);
    this.#timer = setTimeout(() => void this.poll(), this.intervalMs());
  }

  /** How long until the next poll, milliseconds. */
  intervalMs(): number {
    if (this.#document === undefined) return hastyMs;
    const { refreshHintMs } = this.#document;
    // A hint of nothing is no hint.
    const wanted = refreshHintMs === undefined || refreshHintMs === 0 ? usualMs : refreshHintMs;
    return Math.min(Math.max(wanted, bounds.shortestMs), bounds.longestMs);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async #ask(): Promise<PollFault | undefined> {
    try {
      const next = parseBundleDocument(await this.#source.fetch());
      // Old keys in an honest document of last year: whoever can serve it brings back what was revoked.
      if (next.sequence !== undefined && next.sequence < this.#sequence) return 'rollback';
      if (!this.#closed) this.#keep(next);
      return undefined;
    } catch (error) {
      if (error instanceof MalformedAnswer) return 'malformed';
      // Whatever else a source throws: nothing came, what is held stays, and the next poll comes.
      return error instanceof EndpointUnavailable ? error.fault : 'unreachable';
    }
  }

  #keep(next: BundleDocument): void {
    const changed = next.digest !== this.#document?.digest;
    this.#sequence = Math.max(this.#sequence, next.sequence ?? 0);
    this.#document = next;
    // The same objects until something changes: what was verified with them is remembered by them.
    if (!changed) return;
    this.#jwt = next.jwtAuthorities;
    this.#x509 = { authorities: next.authorities, revocations: [] };
    this.#events.changed(this.#trustDomain);
  }
}
