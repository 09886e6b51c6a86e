import { UnprovenRefusal } from '../../refusal.ts';
import { IdentityUnavailable } from '../../spiffe/identity-unavailable.ts';
import { readProjectedToken } from '../../spiffe/projected-token.ts';
import type { World } from '../../world.ts';
import type { AuthenticateClient } from '../service-client.ts';
import { jwtBearerAssertion } from './private-key-jwt.ts';

/** Port: service account tokens of this pod, one audience each. Rejects while there is none that is good. */
export interface ClusterTokenSource {
  readToken(audience: string): Promise<ClusterToken>;
}

/** One projected token. It is a bearer token: it goes to the one service that its audience names, and nowhere else. */
export interface ClusterToken {
  token(): string;
  readonly expiresAtMs: number;
}

/** How the token of the pod is presented. */
export interface KubernetesJwtOptions {
  readonly source: ClusterTokenSource;
  readonly issuer: string;
  readonly audience: 'issuer' | 'token_endpoint';
  /** Sent along where the service has another name for us than the token. */
  readonly clientId: string | undefined;
}

/** Client authentication with a token that the cluster signed (RFC 7523 2.2), which the service checks with the cluster's keys. */
export function kubernetesJwtAuth({ source, issuer, audience, clientId }: KubernetesJwtOptions): AuthenticateClient {
  return () => async (as, _client, body) => {
    const token = await read(source, audience === 'issuer' ? issuer : (as.token_endpoint ?? ''));
    body.set('client_assertion_type', jwtBearerAssertion);
    body.set('client_assertion', token.token());
    if (clientId !== undefined) body.set('client_id', clientId);
  };
}

/** The projected tokens of one file, for a service that has a token of its own: a file has one audience. */
export function projectedTokens(file: string, world: World): ClusterTokenSource {
  return { readToken: (audience) => readProjectedToken(file, audience, world.now()) };
}

async function read(source: ClusterTokenSource, audience: string): Promise<ClusterToken> {
  try {
    return await source.readToken(audience);
  } catch (error) {
    throw new UnprovenRefusal(
      'The pod has no service account token that is good and for this token service alone.',
      error instanceof IdentityUnavailable ? error.reason : 'no_token',
    );
  }
}
