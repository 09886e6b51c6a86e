import { randomBytes } from 'node:crypto';
import type { JWK } from 'jose';
import { Secret } from '../trust/secret.ts';
import { matchesSpiffeId } from './jwt-svid-check.ts';
import type { ServiceResource } from './grant-target.ts';

/** RFC 8693 2.1. */
export const tokenExchange = 'urn:ietf:params:oauth:grant-type:token-exchange';
/** The grants that there are; no user logs in here. */
export type GrantType = 'client_credentials' | typeof tokenExchange;

/** A client of the embedded service. `scopes` is the most that it can get; `grants` absent means both. */
export type ServiceClient = {
  readonly clientId: string;
  readonly scopes: readonly string[];
  readonly grants?: readonly GrantType[];
} & (
  | {
      readonly auth: 'client_secret_basic' | 'client_secret_post';
      readonly clientSecret: string;
      /** If set, the only workload that the client may present as actor. */
      readonly spiffeId?: string;
    }
  /** Public keys that the assertions of the client are signed with (RFC 7523). */
  | { readonly auth: 'private_key_jwt'; readonly jwks: readonly JWK[]; readonly spiffeId?: string }
  /** `spiffeId` may end in `/*`: any workload below that path is the client. */
  | { readonly auth: 'spiffe_jwt'; readonly spiffeId: string }
);

/** The client that users' own tokens are minted for when no other is named; nobody can authenticate as it. */
export const signInClientId = 'user-sign-in';

/** The registered clients, and for each the secret that the provider knows it by. */
export class ClientTable {
  readonly #clients = new Map<string, ServiceClient>();
  readonly #secrets = new Map<string, Secret>();
  readonly #resources: readonly ServiceResource[];

  constructor(clients: readonly ServiceClient[], resources: readonly ServiceResource[]) {
    this.#resources = resources;
    const signIn = { clientId: signInClientId, scopes: [], grants: [], auth: 'client_secret_post' } as const;
    for (const client of [...clients, { ...signIn, clientSecret: randomBytes(32).toString('base64url') }]) {
      if (this.#clients.has(client.clientId)) throw new Error(`client ${client.clientId} is there twice`);
      // Clients with a key or an SVID have no secret: this one is known to the front door and the provider only.
      const text = 'clientSecret' in client ? client.clientSecret : randomBytes(32).toString('base64url');
      this.#secrets.set(client.clientId, new Secret(text));
      this.#clients.set(client.clientId, client);
    }
  }

  /** The client of this id; the provider has authenticated it, so an unknown one is a fault. */
  get(clientId: string): ServiceClient {
    const client = this.#clients.get(clientId);
    if (client === undefined) throw new Error(`no client ${clientId}`);
    return client;
  }

  /** The `spiffe_jwt` client of a workload, with the secret that stands for it towards the provider. */
  findByWorkload(spiffeId: string): { readonly clientId: string; readonly secret: Secret } | undefined {
    for (const { clientId, ...client } of this.#clients.values()) {
      if (client.auth !== 'spiffe_jwt' || !matchesSpiffeId(client.spiffeId, spiffeId)) continue;
      const secret = this.#secrets.get(clientId);
      if (secret !== undefined) return { clientId, secret };
    }
    return undefined;
  }

  /** Every name under which a token can be addressed to this client. */
  namesOf(client: ServiceClient): ReadonlySet<string> {
    const names = new Set([client.clientId]);
    // A pattern is no name: a token for one workload below it must not serve another.
    if (client.spiffeId !== undefined && !client.spiffeId.endsWith('/*')) names.add(client.spiffeId);
    for (const { resource, audience, client: owner } of this.#resources) {
      if (owner !== client.clientId) continue;
      names.add(resource);
      if (audience !== undefined) names.add(audience);
    }
    return names;
  }

  /** The clients as oidc-provider registers them. Grants are checked by the grants themselves: the provider has another error code. */
  registrations(): object[] {
    return [...this.#clients.values()].map((client) => ({
      client_id: client.clientId,
      ...(client.auth === 'private_key_jwt'
        ? { token_endpoint_auth_method: client.auth, jwks: { keys: client.jwks } }
        : {
            token_endpoint_auth_method: client.auth === 'spiffe_jwt' ? 'client_secret_basic' : client.auth,
            client_secret: this.#secrets.get(client.clientId)?.reveal(),
          }),
      grant_types: ['client_credentials', tokenExchange],
      response_types: [],
      redirect_uris: [],
    }));
  }
}
