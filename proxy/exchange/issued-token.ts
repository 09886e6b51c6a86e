import { createHash } from 'node:crypto';

/** What is known of a token when it has passed every check. */
export interface IssuedTokenFacts {
  readonly text: string;
  readonly service: string;
  /** Audience of the token where it says one, else what was asked for. */
  readonly audience: readonly string[];
  readonly scopes: readonly string[];
  readonly tokenType: 'Bearer' | 'DPoP' | 'N_A';
  /** When we stop using it. */
  readonly expiresAtMs: number;
  /** When it ends for the service, if the service says so: until then it has to be revoked, even if we no longer use it. */
  readonly validUntilMs: number | undefined;
  readonly issuedAtMs: number;
}

/**
 * How long before its end a token goes to no call any more, milliseconds. Between that look at the clock and the line of the record that
 * says the token was used lies a moment, and a token must not be over in it.
 */
export const lastMomentMs = 10;
/**
 * How long before that it is handed to no call any more, milliseconds: to its last look a call still has to get a connection, a link of its
 * chain and a proof. Without it a call that was given a token would be refused for the end of that token.
 */
export const handingMs = 20;
/** Clocks are set back by this much as a matter of course, milliseconds. */
const setBackMs = 30_000;

/** A downstream token that passed W5, issued for one order. It cannot be printed (W8); `headers` is the one way to the wire. */
export class IssuedToken {
  readonly #text: string;
  readonly #headers: readonly string[];
  /** First 16 hex digits of the SHA-256 of the text: its name in events. */
  readonly id: string;
  /** `base64url(SHA-256(text))` for DPoP proofs (RFC 9449 4.2). */
  readonly ath: string;
  readonly service: string;
  readonly audience: readonly string[];
  readonly scopes: readonly string[];
  readonly tokenType: IssuedTokenFacts['tokenType'];
  readonly expiresAtMs: number;
  readonly validUntilMs: number | undefined;
  readonly issuedAtMs: number;
  /** When a call last got it, for the inventory; undefined: never. */
  lastUsedAtMs: number | undefined;

  constructor(facts: IssuedTokenFacts) {
    // One digest gives both names of the token, and the header value is joined once: calls only read.
    const digest = createHash('sha256').update(facts.text).digest();
    this.#text = facts.text;
    // A statement of one service for another is no credential: it has no way to a tool (RFC 8693 2.2.1, `N_A`).
    this.#headers = facts.tokenType === 'N_A' ? [] : ['Authorization', `${facts.tokenType} ${facts.text}`];
    this.id = digest.toString('hex', 0, 8);
    this.ath = digest.toString('base64url');
    this.service = facts.service;
    this.audience = facts.audience;
    this.scopes = facts.scopes;
    this.tokenType = facts.tokenType;
    this.expiresAtMs = facts.expiresAtMs;
    this.validUntilMs = facts.validUntilMs;
    this.issuedAtMs = facts.issuedAtMs;
  }

  /** Whether a call may be given it now. */
  isUsable(nowMs: number): boolean {
    return !this.isOver(nowMs + handingMs + lastMomentMs);
  }

  /** Whether its time is past. One of a time that is yet to come is of a clock that was ahead, and nobody knows when it ends. */
  isOver(nowMs: number): boolean {
    return this.expiresAtMs <= nowMs || this.issuedAtMs > nowMs + setBackMs;
  }

  /** Headers to inject, flat. */
  headers(): readonly string[] {
    return this.#headers;
  }

  /** The text itself: for its revocation, and for masking it in answers. */
  reveal(): string {
    return this.#text;
  }

  toString(): string {
    return `[token ${this.id}]`;
  }

  toJSON(): string {
    return this.toString();
  }
}
