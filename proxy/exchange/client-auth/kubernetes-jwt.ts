import { Refusal } from '../../refusal.ts';
import { isSeconds, readAudience, readStrictJws } from '../../trust/strict-jws.ts';
import type { World } from '../../world.ts';
import type { AuthenticateClient } from '../service-client.ts';
import { jwtBearerAssertion } from './private-key-jwt.ts';
import { readSecretFile } from './secret-file.ts';

/** Port: service account tokens of this pod, one audience each. Rejects with `identity_unavailable`. */
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
    const token = await source.readToken(audience === 'issuer' ? issuer : (as.token_endpoint ?? ''));
    body.set('client_assertion_type', jwtBearerAssertion);
    body.set('client_assertion', token.token());
    if (clientId !== undefined) body.set('client_id', clientId);
  };
}

/**
 * The token that the kubelet keeps in a file (projected volume), read at each use since it is replaced at 80 % of its life. One for
 * another audience, and above all that of the cluster's own API, is not given away: whoever gets it could call there as this pod.
 */
export function projectedToken(file: string, world: World): ClusterTokenSource {
  return {
    async readToken(audience) {
      const text = await readSecretFile(file, 'service account token');
      const expiresAtMs = checkToken(text, audience);
      if (expiresAtMs <= world.now()) throw unusable('has expired');
      return { token: () => text, expiresAtMs };
    },
  };
}

/** End of a token, milliseconds. Its signature is for the service to check. */
function checkToken(text: string, audience: string): number {
  let members: readonly string[];
  let exp: unknown;
  try {
    const { payload } = readStrictJws(text);
    members = readAudience(payload['aud']);
    exp = payload['exp'];
  } catch {
    throw unusable('is not a JWT with an audience');
  }
  if (!members.every((member) => member === audience)) throw unusable('is for another audience');
  if (!isSeconds(exp)) throw unusable('has no end');
  return exp * 1000;
}

function unusable(why: string): Refusal {
  return new Refusal('identity_unavailable', `The service account token of a token service ${why}.`);
}
