/** A client that is a workload: it authenticates with its JWT-SVID and exchanges tokens. Its SPIFFE ID is its client id too. */
export interface RealmAgent {
  readonly name: string;
  /** Life of the tokens that it gets, seconds; by default 60. */
  readonly lifeSeconds?: number;
  /** Scopes that it gets with every token, beside what all agents get. */
  readonly defaultScopes?: readonly string[];
  /** Public keys of its assertions (`private_key_jwt`), in place of an SVID. */
  readonly jwks?: object;
}

/** A realm: user `alice`, whose program `frontend` may sign her in, agents, and the tool `tickets-api` with its scopes. */
export interface RealmOptions {
  readonly name: string;
  /** Whether a policy holds exchanges to the scope of the subject token; without one Keycloak grants what is asked for. */
  readonly narrows: boolean;
  readonly agents: readonly RealmAgent[];
  /** Claims that stand in tokens of the scope of this name: how Keycloak is made to say `act`. */
  readonly fixedClaims?: Readonly<Record<string, { readonly claim: string; readonly value: unknown }>>;
  /** Life of the tokens of users, seconds. */
  readonly lifeSeconds?: number;
  /** Where the keys of the workloads' JWT-SVIDs are, and their trust domain. */
  readonly bundleEndpoint: string;
  readonly trustDomain: string;
}

/** Passwords of this stage, which ends with its test. */
export const secrets = {
  frontend: 'frontend-secret-7d1c',
  tickets: 'tickets-secret-51fe',
  alice: 'alice-password-90ab',
};

const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ticketScopes = ['tickets.read', 'tickets.write'];

/** The realm as Keycloak imports it. */
export function realmOf(options: RealmOptions): object {
  const { name, agents, fixedClaims = {}, lifeSeconds = 300 } = options;
  return {
    realm: name,
    enabled: true,
    sslRequired: 'none',
    accessTokenLifespan: lifeSeconds,
    users: [user('alice')],
    identityProviders: [spiffeProvider(options)],
    // A realm that lists its scopes gets no others: without `basic` a token has no `sub`.
    clientScopes: [
      scope('basic', false, [mapper('sub', 'oidc-sub-mapper', {})]),
      ...agents.map(({ name: agent }) => scope(`to-${agent}`, false, [audienceMapper(idOf(options, agent))])),
      ...ticketScopes.map((ticket) => scope(ticket, true, [audienceMapper('tickets-api')])),
      ...Object.entries(fixedClaims).map(([key, fixed]) => scope(key, false, [fixedClaimMapper(fixed)])),
    ],
    clients: [
      frontend(agents),
      ...agents.map((agent) => agentClient(options, agent)),
      // The tool, which is also asked by the tests what a token is worth.
      { ...confidential('tickets-api', secrets.tickets), standardFlowEnabled: false },
    ],
    ...(options.narrows ? narrowing : {}),
  };
}

/** Keycloak grants an exchange more than its subject token has; this executor makes it refuse that. */
const narrowing = {
  clientProfiles: {
    profiles: [{ name: 'narrow', executors: [{ executor: 'downscope-assertion-grant-enforcer', configuration: {} }] }],
  },
  clientPolicies: {
    policies: [
      {
        name: 'narrow-exchanges',
        enabled: true,
        conditions: [{ condition: 'grant-type', configuration: { grant_types: [exchangeGrant] } }],
        profiles: ['narrow'],
      },
    ],
  },
};

function user(name: string): object {
  return {
    username: name,
    enabled: true,
    // Without these it is an account that is not set up, and no sign-in succeeds.
    email: `${name}@example.org`,
    emailVerified: true,
    firstName: name,
    lastName: 'Example',
    credentials: [{ type: 'password', value: secrets.alice, temporary: false }],
  };
}

/** Whose JWT-SVIDs authenticate clients. */
function spiffeProvider({ trustDomain, bundleEndpoint }: RealmOptions): object {
  return {
    alias: 'spiffe',
    providerId: 'spiffe',
    enabled: true,
    config: { trustDomain: `spiffe://${trustDomain}`, bundleEndpoint },
  };
}

/** The program that signs users in; its tokens are for every agent. */
function frontend(agents: readonly RealmAgent[]): object {
  return {
    ...confidential('frontend', secrets.frontend),
    directAccessGrantsEnabled: true,
    defaultClientScopes: ['basic', ...agents.map(({ name }) => `to-${name}`)],
    optionalClientScopes: ticketScopes,
    attributes: signed,
  };
}

function agentClient(options: RealmOptions, { name, lifeSeconds = 60, defaultScopes = [], jwks }: RealmAgent): object {
  const spiffeId = idOf(options, name);
  return {
    clientId: spiffeId,
    publicClient: false,
    clientAuthenticatorType: jwks === undefined ? 'federated-jwt' : 'client-jwt',
    standardFlowEnabled: false,
    fullScopeAllowed: false,
    defaultClientScopes: ['basic', ...defaultScopes],
    optionalClientScopes: ticketScopes,
    attributes: {
      ...signed,
      ...(jwks === undefined
        ? { 'jwt.credential.issuer': 'spiffe', 'jwt.credential.sub': spiffeId }
        : { 'use.jwks.string': 'true', 'jwks.string': JSON.stringify(jwks) }),
      'standard.token.exchange.enabled': 'true',
      'access.token.lifespan': String(lifeSeconds),
      // Else a client is told of a token that it is no audience of, such as the one it got for a tool, that it is not active.
      'allow.token.introspection.without.audience.check': 'true',
    },
  };
}

function idOf({ trustDomain }: RealmOptions, name: string): string {
  return `spiffe://${trustDomain}/${name}`;
}

function confidential(clientId: string, secret: string): object {
  return { clientId, secret, publicClient: false, fullScopeAllowed: false };
}

/** RFC 9068 and ES256; by default Keycloak's access tokens have the typ of any JWT and an RSA signature. */
const signed = { 'access.token.header.type.rfc9068': 'true', 'access.token.signed.response.alg': 'ES256' };

function scope(name: string, shown: boolean, protocolMappers: readonly object[]): object {
  const attributes = { 'include.in.token.scope': String(shown) };
  return { name, protocol: 'openid-connect', attributes, protocolMappers };
}

function audienceMapper(clientId: string): object {
  return mapper(clientId, 'oidc-audience-mapper', { 'included.client.audience': clientId });
}

function fixedClaimMapper({ claim, value }: { readonly claim: string; readonly value: unknown }): object {
  const config = { 'claim.name': claim, 'claim.value': JSON.stringify(value), 'jsonType.label': 'JSON' };
  return mapper(claim, 'oidc-hardcoded-claim-mapper', config);
}

function mapper(name: string, protocolMapper: string, config: Readonly<Record<string, string>>): object {
  const everywhere = { 'access.token.claim': 'true', 'introspection.token.claim': 'true' };
  return { name, protocol: 'openid-connect', protocolMapper, config: { ...everywhere, ...config } };
}
