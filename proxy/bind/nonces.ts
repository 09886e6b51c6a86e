const maxOrigins = 4096;

/**
 * The newest DPoP nonce of each tool origin (RFC 9449 8.2). Nonces of token services are kept elsewhere, by the exchange: a nonce of
 * one server is never shown to the other kind.
 */
export class ToolNonces {
  readonly #newest = new Map<string, string>();

  newest(origin: string): string | undefined {
    return this.#newest.get(origin);
  }

  /** Keeps what a tool sent in `DPoP-Nonce`. Texts that no header could carry back are dropped (RFC 9449 8.1 gives the alphabet). */
  keep(origin: string, nonce: string): void {
    if (!/^[\x21\x23-\x5b\x5d-\x7e]{1,512}$/.test(nonce)) return;
    this.#newest.delete(origin);
    this.#newest.set(origin, nonce);
    if (this.#newest.size > maxOrigins) this.#newest.delete(this.#newest.keys().next().value ?? origin);
  }
}
