import type { Dialect } from '../../../config/service-profiles.ts';
import type { Secret } from '../../trust/secret.ts';
import type { AuthorizationDetails } from '../authorization-details.ts';
import { type TokenKind, tokenKinds } from '../token-kinds.ts';
import type { OrderSubject } from '../token-order.ts';

export const tokenExchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange';
export const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token';
export const jwtTokenType = 'urn:ietf:params:oauth:token-type:jwt';

/** Who is named as the one who acts: a token of ours, made for this service alone. */
export interface ActorToken {
  readonly token: Secret;
  readonly tokenType: string;
}

/** Form parameters of a token exchange (RFC 8693 2.1). `actor_token_type` stands if and only if `actor_token` does. */
export function exchangeParameters(
  target: Target,
  subject: OrderSubject,
  actor: ActorToken | undefined,
  kind: TokenKind = 'access_token',
): URLSearchParams {
  const form = targetParameters(target);
  // Always said: without it, some services return a token of the subject token's own kind.
  form.set('requested_token_type', tokenKinds[kind].type);
  form.set('subject_token', subject.token.reveal());
  form.set('subject_token_type', subject.tokenType);
  if (actor !== undefined) {
    form.set('actor_token', actor.token.reveal());
    form.set('actor_token_type', actor.tokenType);
  }
  return form;
}

/** What a token shall be good for. */
export interface Target {
  /** Logical names of services; the parameter repeats. */
  readonly audience: readonly string[];
  /** RFC 8707: one absolute URI. */
  readonly resource: string | undefined;
  readonly scopes: readonly string[] | undefined;
  /** RFC 9396 2: objects with a `type`, as the configuration has them. */
  readonly details?: AuthorizationDetails | undefined;
}

/** The parameters that all grants send. */
export function targetParameters(target: Target): URLSearchParams {
  const form = new URLSearchParams();
  if (target.resource !== undefined) form.set('resource', target.resource);
  for (const audience of target.audience) form.append('audience', audience);
  if (target.scopes !== undefined && target.scopes.length > 0) form.set('scope', target.scopes.join(' '));
  if (target.details !== undefined) form.set('authorization_details', JSON.stringify(target.details));
  return form;
}

/** The target as a service wants to hear it: some learn it from the scopes alone, and refuse the parameters. */
export function targetOf(target: Target, dialect: Pick<Dialect, 'target'>): Target {
  return dialect.target === 'sent' ? target : { ...target, audience: [], resource: undefined };
}
