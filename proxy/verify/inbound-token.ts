import { hash } from 'node:crypto';
import { Refusal } from '../refusal.ts';
import { checkJwtSvid, type JwtBundleOf, type JwtSvidVerdict } from '../spiffe/jwt-svid-check.ts';
import type { VerifiedAccessToken } from '../trust/issuers.ts';
import { KeysUnavailable } from '../trust/jwks.ts';
import { Secret } from '../trust/secret.ts';
import type { SpiffePattern } from '../trust/spiffe-pattern.ts';
import { InvalidToken, readStrictPayload } from '../trust/strict-jws.ts';
import type { World } from '../world.ts';

/** How a token has to be bound to whoever presents it. */
export type Binding = 'dpop' | 'mtls' | 'bearer';

/** What a caller's token says, verified: kept by the hash of its exact text until it ends. */
export interface InboundToken {
  readonly kind: 'access' | 'jwt-svid';
  readonly text: Secret;
  /** Which kind of token it says that it is, as `StrictHeader.typ`; empty where it does not say. */
  readonly typ: string;
  readonly iss: string;
  readonly sub: string;
  readonly jti: string | undefined;
  readonly expiresAtMs: number;
  readonly act: unknown;
  /** All claims, for what the program behind us may see of them. */
  readonly claims: Readonly<Record<string, unknown>>;
  /** `base64url(SHA-256(text))`, which a proof names as `ath`. */
  readonly ath: string;
  /** How it says that it is bound to a key: names of the members of `cnf` (RFC 7800 3.1); undefined for one that says nothing of it. */
  readonly boundBy: readonly string[] | undefined;
  readonly jkt: string | undefined;
  /** `cnf.x5t#S256` (RFC 8705 3.1). */
  readonly x5t: string | undefined;
  readonly binding: Binding;
  /** Of a token that is bound to nothing: the workload that alone may present it, as the configuration says of its client. */
  readonly presenter: SpiffePattern | undefined;
}

/** Port: verifies access tokens of the trusted issuers for one resource; throws InvalidToken or KeysUnavailable. */
export interface AccessTokens {
  verifyAccessToken(text: string, resource: string): Promise<VerifiedAccessToken>;
}

/** Whose tokens are accepted (`inbound.accept`). */
export interface AcceptedTokens {
  readonly resource: string;
  /** Binding by issuer. */
  readonly issuers: ReadonlyMap<string, Binding>;
  /** Who presents tokens that are bound to nothing, by issuer and then by the client that they were issued to. */
  readonly presenters: ReadonlyMap<string, ReadonlyMap<string, SpiffePattern>>;
  /** Token service that is asked whether a token is still active, by issuer. */
  readonly introspection: ReadonlyMap<string, string>;
  readonly trustDomains: ReadonlySet<string>;
}

/** Port: whether a token is still active by its service's own word (RFC 7662); rejects with a refusal where it does not say. */
export type IsActive = (service: string, token: Secret) => Promise<boolean>;

const maxKept = 20_000;
/** How long an answer to an introspection counts, milliseconds (PROTOCOLS 4.5). */
const activeForMs = 30_000;

/** A verified token, what its service says of it, and until when that counts: always, where nobody has to be asked. */
interface Kept {
  readonly token: InboundToken;
  readonly isActive: boolean;
  readonly askAgainAtMs: number;
  /** What a JWT-SVID was verified with: a key that is taken back takes its tokens with it. */
  readonly bundle: ReturnType<JwtBundleOf>;
}

/** Verifies callers' tokens. A token that was verified is good until it ends; a bad one costs its sender's time, never memory. */
export class InboundTokens {
  readonly #accepted: AcceptedTokens;
  readonly #accessTokens: AccessTokens;
  readonly #bundleOf: JwtBundleOf;
  readonly #world: World;
  readonly #isActive: IsActive;
  readonly #kept = new Map<string, Kept>();
  readonly #flights = new Map<string, Promise<InboundToken>>();

  constructor(
    accepted: AcceptedTokens,
    ports: { accessTokens: AccessTokens; jwtBundleOf: JwtBundleOf; isActive: IsActive },
    world: World,
  ) {
    this.#accepted = accepted;
    this.#accessTokens = ports.accessTokens;
    this.#bundleOf = ports.jwtBundleOf;
    this.#isActive = ports.isActive;
    this.#world = world;
  }

  /** At once for a token that is known. Throws or rejects with `token_invalid` or `token_wrong_audience`. */
  verify(text: string): InboundToken | Promise<InboundToken> {
    const ath = hash('sha256', text, 'base64url');
    const known = this.#kept.get(ath);
    return known === undefined ? this.#once(ath, () => this.#verifyAnew(text, ath)) : this.#recall(known, ath);
  }

  /** As `verify`, for a token that was verified here a moment ago: it may have ended or been revoked since. */
  again({ ath, text }: InboundToken): InboundToken | Promise<InboundToken> {
    const known = this.#kept.get(ath);
    return known === undefined ? this.verify(text.reveal()) : this.#recall(known, ath);
  }

  /** A token that was verified under another configuration, as it has to be bound under this one. Throws `token_invalid` where it is not taken. */
  bindingOf(token: InboundToken): InboundToken {
    if (token.kind === 'access') return { ...token, ...this.#bindingOf(token) };
    if (!this.#accepted.trustDomains.has(token.iss.slice('spiffe://'.length))) throw invalid('no_bundle');
    return token;
  }

  #recall({ token, isActive, askAgainAtMs, bundle }: Kept, ath: string): InboundToken | Promise<InboundToken> {
    const now = this.#world.now();
    if (token.expiresAtMs <= now) {
      this.#kept.delete(ath);
      throw invalid('expired');
    }
    if (bundle !== this.#bundleFor(token)) return this.#once(ath, () => this.#verifyAnew(token.text.reveal(), ath));
    if (askAgainAtMs <= now) return this.#once(ath, () => this.#keep(token));
    if (!isActive) throw invalid('revoked');
    return token;
  }

  /** Whoever comes with the same token while it is verified waits for that: a flood of one token asks its service once. */
  #once(ath: string, verifying: () => Promise<InboundToken>): Promise<InboundToken> {
    let flight = this.#flights.get(ath);
    if (flight === undefined) {
      flight = verifying().finally(() => this.#flights.delete(ath));
      this.#flights.set(ath, flight);
    }
    return flight;
  }

  async #verifyAnew(text: string, ath: string): Promise<InboundToken> {
    // Whose key counts is the issuer's to say: a workload may well be the subject of an access token, and that is no JWT-SVID.
    const isIssuers = this.#accepted.issuers.has(issuerOf(text) ?? '');
    const svid = isIssuers ? undefined : checkJwtSvid(text, this.#accepted.resource, this.#bundleOf, this.#world.now());
    return this.#keep(svid === undefined ? await this.#readAccessToken(text, ath) : this.#readSvid(svid, text, ath));
  }

  /** Keeps a token that is good, after its service was asked where the configuration wants that. */
  async #keep(token: InboundToken): Promise<InboundToken> {
    const askedAtMs = this.#world.now();
    const service = token.kind === 'access' ? this.#accepted.introspection.get(token.iss) : undefined;
    const isActive = service === undefined || (await this.#isActive(service, token.text));
    // Full of tokens that their issuers signed, so nobody fills it at will. The oldest goes.
    if (this.#kept.size >= maxKept) this.#kept.delete(this.#kept.keys().next().value ?? '');
    const askAgainAtMs = service === undefined ? Infinity : askedAtMs + activeForMs;
    // A "no" is kept as long as a "yes": else whoever holds a revoked token could have its service asked as often as he likes.
    this.#kept.set(token.ath, { token, isActive, askAgainAtMs, bundle: this.#bundleFor(token) });
    if (!isActive) throw invalid('revoked');
    return token;
  }

  #bundleFor({ kind, iss }: InboundToken): Kept['bundle'] {
    return kind === 'jwt-svid' ? this.#bundleOf(iss.slice('spiffe://'.length)) : undefined;
  }

  async #readAccessToken(text: string, ath: string): Promise<InboundToken> {
    const token = await verifyOrRefuse(this.#accessTokens.verifyAccessToken(text, this.#accepted.resource));
    const boundBy = token.cnf === undefined ? undefined : Object.keys(token.cnf);
    const { binding, presenter } = this.#bindingOf({ ...token, boundBy });
    const { jkt, 'x5t#S256': x5t } = token.cnf ?? {};
    if (!isTextOrAbsent(jkt) || !isTextOrAbsent(x5t)) throw invalid('cnf');
    const { iss, sub, jti, typ, expiresAtMs, act, claims } = token;
    const held = { text: new Secret(text), ath, boundBy, jkt, x5t, binding, presenter };
    return { kind: 'access', iss, sub, jti, typ, expiresAtMs, act, claims, ...held };
  }

  #bindingOf({ iss, claims, boundBy }: Pick<InboundToken, 'iss' | 'claims' | 'boundBy'>) {
    const binding = this.#accepted.issuers.get(iss);
    if (binding === undefined) throw invalid('issuer');
    const isPlain = boundBy === undefined;
    return { binding, presenter: isPlain ? this.#accepted.presenters.get(iss)?.get(clientOf(claims)) : undefined };
  }

  #readSvid(svid: JwtSvidVerdict, text: string, ath: string): InboundToken {
    if (svid.kind === 'invalid')
      throw svid.reason === 'audience' ? new Refusal('token_wrong_audience') : invalid(svid.reason);
    if (!this.#accepted.trustDomains.has(svid.trustDomain)) throw invalid('no_bundle');
    return {
      kind: 'jwt-svid',
      text: new Secret(text),
      typ: '',
      iss: `spiffe://${svid.trustDomain}`,
      sub: svid.spiffeId,
      jti: undefined,
      expiresAtMs: svid.expiresAtMs,
      act: undefined,
      claims: svid.claims,
      ath,
      boundBy: undefined,
      jkt: undefined,
      x5t: undefined,
      // A JWT-SVID holds no key: it counts only beside a certificate of the same identity.
      binding: 'mtls',
      presenter: undefined,
    };
  }
}

function isTextOrAbsent(value: unknown): value is string | undefined {
  return value === undefined || typeof value === 'string';
}

/** Who a text says that it is from: nothing of it is verified. Undefined where it does not say. */
function issuerOf(text: string): string | undefined {
  try {
    const { iss } = readStrictPayload(text);
    return typeof iss === 'string' ? iss : undefined;
  } catch {
    return undefined;
  }
}

/** The client that a token was issued to (RFC 9068 2.2; `azp` of OpenID Connect). Empty where it does not say, or says two. */
function clientOf(claims: InboundToken['claims']): string {
  const { client_id: clientId, azp } = claims;
  const client = clientId ?? azp;
  return typeof client === 'string' && (azp === undefined || azp === client) ? client : '';
}

async function verifyOrRefuse(verifying: Promise<VerifiedAccessToken>): Promise<VerifiedAccessToken> {
  try {
    return await verifying;
  } catch (error) {
    if (error instanceof KeysUnavailable)
      throw new Refusal('token_service_unavailable', 'The keys of the issuer cannot be had.');
    if (error instanceof InvalidToken)
      throw error.reason === 'audience' ? new Refusal('token_wrong_audience') : invalid(error.reason);
    throw error;
  }
}

/** @param reason one of our own closed words. */
function invalid(reason: string): Refusal {
  return new Refusal('token_invalid', `The access token is not valid here (${reason}).`);
}
