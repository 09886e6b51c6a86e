import * as oauth from 'oauth4webapi';

const loopback = { [oauth.allowInsecureRequests]: true };
export const tokenType = (name: string): string => `urn:ietf:params:oauth:token-type:${name}`;
export const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange';

/** Parameters of a token request; repeat a name for several values. */
export type Parameters = [name: string, value: string][];

/** What a token endpoint granted. */
export interface Granted {
  readonly access_token: string;
  readonly token_type: string;
  readonly issued_token_type: unknown;
  readonly expires_in: number | undefined;
  readonly scope: string | undefined;
  /** Payload of the access token, not verified. */
  readonly claims: Readonly<Record<string, unknown>>;
}

/** A client of a token service on loopback, made of oauth4webapi: independent of the product. */
export class OAuthClient {
  readonly as: oauth.AuthorizationServer;
  readonly client: oauth.Client;
  readonly auth: oauth.ClientAuth;

  constructor(as: oauth.AuthorizationServer, clientId: string, auth: oauth.ClientAuth) {
    this.as = as;
    this.client = { client_id: clientId };
    this.auth = auth;
  }

  /** Any grant; rejects with oauth4webapi's ResponseBodyError where the service refuses. */
  async grant(grantType: string, parameters: Parameters, dpop?: oauth.DPoPHandle): Promise<Granted> {
    const options = dpop === undefined ? loopback : { ...loopback, DPoP: dpop };
    const request = async (): Promise<oauth.TokenEndpointResponse> => {
      const form = new URLSearchParams(parameters);
      const { as, client, auth } = this;
      const response = await oauth.genericTokenEndpointRequest(as, client, auth, grantType, form, options);
      return oauth.processGenericTokenEndpointResponse(as, client, response);
    };
    const granted = await request().catch((error: unknown) => {
      if (dpop !== undefined && oauth.isDPoPNonceError(error)) return request();
      throw error;
    });
    const { access_token, token_type, expires_in, scope } = granted;
    const issued_token_type = granted['issued_token_type'];
    return { access_token, token_type, issued_token_type, expires_in, scope, claims: claimsOf(access_token) };
  }

  /** Token exchange of an access token. */
  async exchange(subjectToken: string, parameters: Parameters, dpop?: oauth.DPoPHandle): Promise<Granted> {
    const subject: Parameters = [
      ['subject_token', subjectToken],
      ['subject_token_type', tokenType('access_token')],
    ];
    return this.grant(exchangeGrant, [...subject, ...parameters], dpop);
  }

  async introspect(token: string): Promise<oauth.IntrospectionResponse> {
    const response = await oauth.introspectionRequest(this.as, this.client, this.auth, token, loopback);
    return oauth.processIntrospectionResponse(this.as, this.client, response);
  }

  async revoke(token: string): Promise<void> {
    const response = await oauth.revocationRequest(this.as, this.client, this.auth, token, loopback);
    await oauth.processRevocationResponse(response);
  }
}

/** The OAuth error code that a request is refused with, `granted` if it is not. */
export async function refusalOf(request: Promise<unknown>): Promise<string> {
  return request.then(
    () => 'granted',
    (error: unknown) => (error instanceof oauth.ResponseBodyError ? error.error : String(error)),
  );
}

/** Discovery by RFC 8414 or by OpenID Connect. */
export async function discover(issuer: string, algorithm: 'oauth2' | 'oidc'): Promise<oauth.AuthorizationServer> {
  const url = new URL(issuer);
  return oauth.processDiscoveryResponse(url, await oauth.discoveryRequest(url, { ...loopback, algorithm }));
}

/** `spiffe_jwt` of draft-ietf-oauth-spiffe-client-auth; with `clientId` the optional parameter is sent too. */
export function spiffeJwt(svid: () => Promise<string>, clientId?: string): oauth.ClientAuth {
  return async (_as, _client, body) => {
    body.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe');
    body.set('client_assertion', await svid());
    if (clientId !== undefined) body.set('client_id', clientId);
  };
}

function claimsOf(token: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'));
}
