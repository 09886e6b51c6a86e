/** What sets one kind of token service apart, as data: a row for each, so that no room asks which service it talks to. */
export interface ServiceProfile {
  /** Whether it takes a subject token that is bound to the key of another client. */
  readonly bound_subject: 'accept' | 'refuse';
  /** What its tokens look like. */
  readonly expect: {
    readonly sub: 'same' | 'any';
    /** `by-actor`: us where an actor is named to it, else anything. */
    readonly act: 'by-actor' | 'none' | 'any';
    readonly typ: readonly string[];
    /** `subject` where we narrow, because the service grants scopes that the subject token does not have. */
    readonly scopes: 'asked' | 'subject';
    /** A token that outlives the subject token: used until the subject's end, the same and told of, or refused. */
    readonly life: 'any' | 'cut' | 'refuse';
    /** `req_wl` of its transaction tokens: us, by SPIFFE ID or client id, or a name that it chose. */
    readonly workload: 'self' | 'any';
  };
  /** Longest life of its tokens, milliseconds. */
  readonly max_lifetime: number;
  readonly dialect: Dialect;
}

/** How it is spoken to, where the standards leave room. */
export interface Dialect {
  /** Grant of tools that name none, in tasks with a subject token. */
  readonly grant: 'token_exchange' | 'jwt_bearer';
  /** Further parameters of requests on behalf of a subject. */
  readonly parameters: Readonly<Record<string, string>>;
  /** `sent`: `audience` and `resource` are parameters. `compared`: the scopes say the target, and the token must name it. */
  readonly target: 'sent' | 'compared';
  /** `last`: tokens name `User.Read` where `https://graph.example.org/User.Read` was asked for. */
  readonly scope_names: 'whole' | 'last';
  /**
   * What `invalid_client` means: our own authentication, with 400 as with 401 (RFC 6749 5.2), or that, and with the one description
   * that Keycloak has for it, an audience that the service does not know.
   */
  readonly invalid_client: 'authentication' | 'audience-by-text';
}

const standard: ServiceProfile = {
  bound_subject: 'accept',
  expect: { sub: 'same', act: 'by-actor', typ: ['at+jwt', 'JWT'], scopes: 'asked', life: 'any', workload: 'self' },
  max_lifetime: 3_600_000,
  dialect: {
    grant: 'token_exchange',
    parameters: {},
    target: 'sent',
    scope_names: 'whole',
    invalid_client: 'authentication',
  },
};

/** The profiles, by the names that `token_services.X.profile` takes. */
export const serviceProfiles = {
  rfc8693: standard,
  // Unless told, it grants any scope that the client may have, whether or not the user's token has it, and a life of its own. The life is
  // not refused: with the defaults of a realm that would be every token.
  keycloak: {
    ...standard,
    bound_subject: 'refuse',
    expect: { ...standard.expect, scopes: 'subject', life: 'cut' },
    dialect: { ...standard.dialect, invalid_client: 'audience-by-text' },
  },
  // On-behalf-of is RFC 7523 with a parameter of its own; subjects are pairwise, and a life is 60 to 90 minutes by chance.
  'entra-obo': {
    ...standard,
    expect: { ...standard.expect, sub: 'any', act: 'none', typ: ['JWT'] },
    max_lifetime: 5_400_000,
    dialect: {
      grant: 'jwt_bearer',
      parameters: { requested_token_use: 'on_behalf_of' },
      target: 'compared',
      scope_names: 'last',
      invalid_client: 'authentication',
    },
  },
  // Names the actor, with the chain before it, and narrows by itself.
  spring: standard,
  // The service of another domain: it knows the subject by a name of its own, and who acts as it sees fit.
  chaining: { ...standard, expect: { ...standard.expect, sub: 'any', act: 'any' } },
} as const satisfies Readonly<Record<string, ServiceProfile>>;

/** Names of the profiles, the standard first. */
export const profileNames = [
  'rfc8693',
  'keycloak',
  'entra-obo',
  'spring',
  'chaining',
] as const satisfies readonly (keyof typeof serviceProfiles)[];
