import { InvalidDpopProof, UnauthorizedClient } from 'oidc-provider/lib/helpers/errors.js';
import validateDpop from 'oidc-provider/lib/helpers/validate_dpop.js';
import type { Provider, RequestContext } from 'oidc-provider/lib/provider.js';
import type { AccessTokens, TokenOrder } from './access-token.ts';
import type { ServiceResource } from './grant-target.ts';
import type { TrustDomain } from './jwt-svid-check.ts';
import type { ClientTable, GrantType, ServiceClient } from './service-client.ts';
import type { TokenLedger } from './token-ledger.ts';

/** What both grants work with. */
export interface GrantDesk {
  readonly provider: Provider;
  readonly issuer: string;
  readonly tokens: AccessTokens;
  readonly ledger: TokenLedger;
  readonly clients: ClientTable;
  readonly resources: readonly ServiceResource[];
  readonly spiffe: TrustDomain | undefined;
  readonly ttlSeconds: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** A token request whose client the provider has authenticated, with its parameters as lists or single texts. */
export class TokenRequest {
  /** Authenticated. */
  readonly client: ServiceClient;
  /** Thumbprint of the key that proved itself in the `DPoP` header, if there was one. */
  readonly jkt: string | undefined;
  readonly #ctx: RequestContext;
  readonly #proofId: string | undefined;

  private constructor(
    ctx: RequestContext,
    client: ServiceClient,
    proof: { thumbprint: string; jti: string } | undefined,
  ) {
    this.#ctx = ctx;
    this.client = client;
    this.jkt = proof?.thumbprint;
    this.#proofId = proof?.jti;
  }

  /** Throws `unauthorized_client` where the grant is not for this client, and what RFC 9449 5 says of a wrong proof. */
  static async read(desk: GrantDesk, ctx: RequestContext, grant: GrantType): Promise<TokenRequest> {
    const client = desk.clients.get(ctx.oidc?.client?.clientId ?? '');
    if (client.grants !== undefined && !client.grants.includes(grant)) {
      throw new UnauthorizedClient('the client may not use this grant type');
    }
    return new TokenRequest(ctx, client, await validateDpop(desk.provider, ctx));
  }

  /** A parameter that may be there once; the provider has refused a second one. */
  one(name: string): string | undefined {
    return this.all(name)[0];
  }

  /** A parameter that may be repeated. */
  all(name: string): readonly string[] {
    const value = this.#ctx.oidc?.params?.[name];
    return value === undefined ? [] : typeof value === 'string' ? [value] : value.filter((entry) => entry !== '');
  }

  /**
   * Issues the token, bound to the proof's key if there is a proof, and answers, with `more` members if the grant has some. The proof is spent last: a request that was
   * refused for another reason must not let anybody burn the proofs of others.
   */
  async grant(desk: GrantDesk, order: Omit<TokenOrder, 'clientId' | 'jkt'>, more: object): Promise<void> {
    if (this.jkt !== undefined && !desk.ledger.claimProof(this.jkt, this.#proofId ?? '')) {
      throw new InvalidDpopProof('the DPoP proof was used before');
    }
    const binding = this.jkt === undefined ? {} : { jkt: this.jkt };
    const issued = await desk.tokens.issue({ ...order, ...binding, clientId: this.client.clientId });
    this.#ctx.body = {
      access_token: issued.text,
      ...more,
      token_type: issued.tokenType,
      expires_in: order.expiresAt - Math.floor(desk.now() / 1000),
      ...(order.scopes.length === 0 ? {} : { scope: order.scopes.join(' ') }),
    };
  }
}
