import type { KeyObject } from 'node:crypto';
import { jwtVerify, type JWTPayload } from 'jose';
import type { Provider } from 'oidc-provider/lib/provider.js';
import type { Actor } from './delegation.ts';
import type { ExtraClaims, TokenLedger } from './token-ledger.ts';

/** What a token is to say. `subject` absent: the client acts for itself. Times are seconds since the epoch. */
export interface TokenOrder {
  /** The client that asked for the token and may revoke it. */
  readonly clientId: string;
  readonly subject?: string;
  readonly audience: readonly string[];
  readonly scopes: readonly string[];
  readonly expiresAt: number;
  /** Thumbprint of the key that the token is bound to (RFC 9449 6.1). */
  readonly jkt?: string;
  /** Who uses the token on the subject's behalf. */
  readonly act?: Actor;
  /** Who alone may be named as actor when the token is exchanged. */
  readonly mayAct?: Actor;
}

/** A token that this service issued, read back: signed by it, not expired, not revoked. */
export interface LiveToken {
  readonly iss: string;
  readonly sub: string;
  readonly clientId: string;
  readonly audience: readonly string[];
  readonly scopes: ReadonlySet<string>;
  readonly expiresAt: number;
  readonly jkt?: string;
  readonly act?: Actor;
  readonly mayAct?: Actor;
}

/** Issues, reads and names the access tokens of one service: JWTs of RFC 9068, `typ: at+jwt`, ES256. */
export class AccessTokens {
  readonly #provider: Provider;
  readonly #ledger: TokenLedger;
  readonly #publicKey: KeyObject;
  readonly #issuer: string;
  readonly #seconds: () => number;

  constructor(provider: Provider, ledger: TokenLedger, publicKey: KeyObject, issuer: string, seconds: () => number) {
    this.#provider = provider;
    this.#ledger = ledger;
    this.#publicKey = publicKey;
    this.#issuer = issuer;
    this.#seconds = seconds;
  }

  /** Makes a token through the provider's own model and enters it in the ledger before anybody holds it. */
  async issue(order: TokenOrder): Promise<{ text: string; tokenType: string }> {
    const client = await this.#provider.Client.find(order.clientId);
    if (client === undefined) throw new Error(`no client ${order.clientId}`);
    const iat = this.#seconds();
    const fields = { iat, exp: order.expiresAt, extra: extraClaims(order), ...optionalFields(order) };
    const Model = order.subject === undefined ? this.#provider.ClientCredentials : this.#provider.AccessToken;
    const token = new Model({ client, ...fields });
    // A resource server makes the model a JWT; without one it would be an opaque token for the userinfo endpoint.
    token.resourceServer = new this.#provider.ResourceServer(order.audience[0] ?? '', {
      scope: order.scopes.join(' '),
      accessTokenFormat: 'jwt',
      jwt: { sign: { alg: 'ES256' } },
    });
    // The model's own setter knows one audience only; the format and the introspection endpoint take what stands here.
    const aud = order.audience.length === 1 ? (order.audience[0] ?? '') : order.audience;
    token.aud = aud;
    const text = await token.save();
    const { kind, jti, tokenType } = token;
    this.#ledger.enter({ ...fields, kind, jti, aud, clientId: order.clientId });
    return { text, tokenType };
  }

  /** The token behind a text, or undefined: not ours, expired or revoked. */
  async findLive(text: string): Promise<LiveToken | undefined> {
    const claims = await this.#verify(text);
    if (claims?.jti === undefined) return undefined;
    const row = this.#ledger.findLive(claims.jti);
    if (row === undefined || claims.sub === undefined) return undefined;
    const { act, may_act: mayAct } = row.extra;
    return {
      iss: this.#issuer,
      sub: claims.sub,
      clientId: row.clientId,
      audience: typeof row.aud === 'string' ? [row.aud] : row.aud,
      scopes: new Set(row.scope?.split(' ')),
      expiresAt: row.exp,
      ...(row.jkt === undefined ? {} : { jkt: row.jkt }),
      ...(act === undefined ? {} : { act }),
      ...(mayAct === undefined ? {} : { mayAct }),
    };
  }

  /** The jti of a text that this service signed, live or not; undefined for anything else. */
  async findId(text: string): Promise<string | undefined> {
    const claims = await this.#verify(text);
    return claims?.jti;
  }

  async #verify(text: string): Promise<JWTPayload | undefined> {
    try {
      // Expiry is the ledger's business (its clock may be a test's), so the verifier looks from the beginning of time.
      const options = { algorithms: ['ES256'], typ: 'at+jwt', issuer: this.#issuer, currentDate: new Date(0) };
      const { payload } = await jwtVerify(text, this.#publicKey, options);
      return payload;
    } catch {
      return undefined;
    }
  }
}

/** The claims that the provider does not set by itself. */
function extraClaims({ subject, clientId, act, mayAct }: TokenOrder): ExtraClaims {
  return {
    // The provider's introspection names no subject for a client's own token; RFC 9068 and the JWT itself do.
    ...(subject === undefined ? { sub: clientId } : {}),
    ...(act === undefined ? {} : { act }),
    ...(mayAct === undefined ? {} : { may_act: mayAct }),
  };
}

/** Fields that are left out where there is nothing to say: an empty `scope` is not the same as none. */
function optionalFields({ subject, scopes, jkt }: TokenOrder): { accountId?: string; scope?: string; jkt?: string } {
  return {
    ...(subject === undefined ? {} : { accountId: subject }),
    ...(scopes.length === 0 ? {} : { scope: scopes.join(' ') }),
    ...(jkt === undefined ? {} : { jkt }),
  };
}
