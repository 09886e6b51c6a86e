/**
 * The part of oidc-provider 9.13 that the embedded service uses; the package ships no types. The modules are imported one by one
 * because its index prints a notice on every Node release that carries no LTS name.
 */
declare module 'oidc-provider/lib/provider.js' {
  import type { IncomingMessage, ServerResponse } from 'node:http';

  export interface ProviderClient {
    readonly clientId: string;
  }

  /** A koa context inside a route of the provider. `oidc` is absent where no route matched. */
  export interface RequestContext {
    readonly req: IncomingMessage;
    readonly path: string;
    status: number;
    body: unknown;
    readonly oidc?: {
      readonly client?: ProviderClient;
      readonly params?: Readonly<Record<string, string | readonly string[] | undefined>>;
    };
  }

  export interface TokenFields {
    client: ProviderClient;
    accountId?: string;
    iat: number;
    exp: number;
    scope?: string;
    jkt?: string;
    extra: object;
  }

  /** An access token of the provider before and after it is saved; `save` signs it and gives its text. */
  export interface TokenModel {
    readonly kind: string;
    readonly jti: string;
    readonly tokenType: string;
    readonly extra?: object;
    resourceServer: object;
    aud: string | readonly string[];
    save(): Promise<string>;
  }

  export type TokenModelClass = new (fields: TokenFields) => TokenModel;

  export class Provider {
    constructor(issuer: string, configuration: object);
    readonly AccessToken: TokenModelClass;
    readonly ClientCredentials: TokenModelClass;
    readonly ResourceServer: new (identifier: string, data: object) => object;
    readonly Client: { find(id: string): Promise<ProviderClient | undefined> };
    registerGrantType(
      name: string,
      handler: (ctx: RequestContext) => Promise<void>,
      parameters: readonly string[],
      repeatable: readonly string[],
    ): void;
    use(middleware: (ctx: RequestContext, next: () => Promise<void>) => Promise<void>): this;
    on(event: string, listener: (...args: unknown[]) => void): this;
    callback(): (request: IncomingMessage, response: ServerResponse) => Promise<void>;
  }
}

declare module 'oidc-provider/lib/helpers/validate_dpop.js' {
  import type { Provider, RequestContext } from 'oidc-provider/lib/provider.js';

  /** Checks the `DPoP` header of a token request (RFC 9449 5): undefined without one, throws where it is wrong or lacks a nonce. */
  export default function validateDpop(
    provider: Provider,
    ctx: RequestContext,
  ): Promise<{ readonly thumbprint: string; readonly jti: string; readonly iat: number } | undefined>;
}

declare module 'oidc-provider/lib/helpers/errors.js' {
  export class InvalidClientAuth extends Error {
    constructor(detail: string);
  }
  export class InvalidRequest extends Error {
    constructor(description: string);
  }
  export class InvalidScope extends Error {
    constructor(description: string, scope?: string);
  }
  export class InvalidTarget extends Error {
    constructor(description: string);
  }
  export class InvalidDpopProof extends Error {
    constructor(description: string);
  }
  export class UnauthorizedClient extends Error {
    constructor(description: string);
  }
}
