import { randomBytes } from 'node:crypto';
import type { Actor } from './delegation.ts';

/** What the service remembers of an access token it issued: the fields that oidc-provider's own models are made of. */
export interface LedgerRow {
  readonly kind: string;
  readonly jti: string;
  /** Seconds since the epoch. */
  readonly iat: number;
  readonly exp: number;
  readonly clientId: string;
  readonly accountId?: string;
  readonly aud: string | readonly string[];
  readonly scope?: string;
  readonly jkt?: string;
  readonly extra: ExtraClaims;
}

/** Claims beside the provider's own, in the token and in its introspection alike. */
export interface ExtraClaims {
  readonly sub?: string;
  readonly act?: Actor;
  readonly may_act?: Actor;
}

/** Seconds a DPoP proof is remembered: the provider accepts an `iat` up to 300 s away, to either side. */
const proofMemorySeconds = 600;

/**
 * The tokens that were issued and neither revoked nor expired. oidc-provider keeps no record of JWT access tokens and so refuses to
 * revoke or introspect them; with this ledger as its storage, its own endpoints find them by reference, and a revoked token is gone.
 */
export class TokenLedger {
  readonly #rows = new Map<string, LedgerRow>();
  readonly #proofs = new Map<string, number>();
  /** Unguessable: the front door alone may name tokens by jti, which every tool can read in them. */
  readonly #prefix = `${randomBytes(16).toString('hex')}:`;
  readonly #seconds: () => number;

  /** @param seconds The service's clock, whole seconds since the epoch. */
  constructor(seconds: () => number) {
    this.#seconds = seconds;
  }

  /** Records an issued token; from now on it is live. */
  enter(row: LedgerRow): void {
    this.#sweep();
    this.#rows.set(row.jti, row);
  }

  /** The row of a token that is still good. */
  findLive(jti: string): LedgerRow | undefined {
    const row = this.#rows.get(jti);
    return row !== undefined && row.exp > this.#seconds() ? row : undefined;
  }

  /** Takes a token back; false when it was not live any more. */
  revoke(jti: string): boolean {
    const live = this.findLive(jti) !== undefined;
    this.#rows.delete(jti);
    return live;
  }

  /** True for the first use of a proof. One step, because two equal proofs can arrive in one turn of the loop (RFC 9449 11.1). */
  claimProof(jkt: string, jti: string): boolean {
    const key = `${jkt} ${jti}`;
    const spentUntil = this.#proofs.get(key);
    const now = this.#seconds();
    if (spentUntil !== undefined && spentUntil > now) return false;
    this.#proofs.set(key, now + proofMemorySeconds);
    return true;
  }

  /** How a token is named towards the provider's introspection and revocation endpoints. */
  referenceOf(jti: string): string {
    return `${this.#prefix}${jti}`;
  }

  /** The storage that oidc-provider asks for each of its models. Only tokens are kept; sessions and the like do not exist here. */
  storageFor(model: string): object {
    return {
      find: async (reference: string) => {
        if (!reference.startsWith(this.#prefix)) return undefined;
        const row = this.findLive(reference.slice(this.#prefix.length));
        return row?.kind === model ? { ...row } : undefined;
      },
      destroy: async (jti: string) => {
        this.revoke(jti);
      },
      upsert: async () => undefined,
      consume: async () => undefined,
      findByUid: async () => undefined,
      findByUserCode: async () => undefined,
      revokeByGrantId: async () => undefined,
    };
  }

  /** Now and then, not on a timer: the service must not keep a process alive. */
  #sweep(): void {
    if (this.#rows.size % 1000 !== 999 && this.#proofs.size < 10_000) return;
    const now = this.#seconds();
    for (const [jti, row] of this.#rows) if (row.exp <= now) this.#rows.delete(jti);
    for (const [key, until] of this.#proofs) if (until <= now) this.#proofs.delete(key);
  }
}
