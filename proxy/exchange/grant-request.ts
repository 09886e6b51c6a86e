import { Secret } from '../trust/secret.ts';
import type { OwnActor } from './actor.ts';
import { fetchSvid, type JwtSvidSource } from './client-auth/spiffe-jwt.ts';
import type { Deadline } from './deadline.ts';
import type { IssuedToken } from './issued-token.ts';
import { clientCredentialsGrant, clientCredentialsParameters } from './issuers/client-credentials.ts';
import { jwtBearerGrant, jwtBearerParameters } from './issuers/jwt-bearer.ts';
import { exchangeParameters, targetOf, tokenExchangeGrant } from './issuers/rfc8693.ts';
import type { ServiceSettings } from './service-settings.ts';
import { checkSubject } from './subject-rules.ts';
import type { TokenOrder } from './token-order.ts';

/** What a token request says, client authentication apart. */
export interface GrantRequest {
  readonly grant: string;
  readonly form: URLSearchParams;
}

/** What a request is made of beside its order. */
export interface GrantParts {
  readonly service: string;
  readonly settings: ServiceSettings;
  readonly jwtSvids: JwtSvidSource;
  readonly actor: OwnActor;
  /** What the service that knows the subject said, in the second of two legs. */
  readonly statement: IssuedToken | undefined;
}

/** The request for an order: on behalf of the subject, or for ourselves where there is none. Rejects with a `Refusal`. */
export async function grantRequest(order: TokenOrder, parts: GrantParts, deadline: Deadline): Promise<GrantRequest> {
  const { service, settings, jwtSvids, actor, statement } = parts;
  const { subject } = order;
  const target = targetOf(order, settings.dialect);
  if (statement !== undefined)
    return { grant: jwtBearerGrant, form: jwtBearerParameters(target, new Secret(statement.reveal())) };
  if (order.assertion === 'workload') {
    // Its only audience is this service, so that nobody else who sees it can hand it in here.
    const svid = await fetchSvid(jwtSvids, settings.issuer, deadline);
    return { grant: jwtBearerGrant, form: jwtBearerParameters(target, new Secret(svid.token())) };
  }
  if (subject === undefined) return { grant: clientCredentialsGrant, form: clientCredentialsParameters(target) };
  checkSubject(subject, actor.names, settings, service);
  const request =
    order.grant === 'token_exchange'
      ? { grant: tokenExchangeGrant, form: exchangeParameters(target, subject, actor.token, order.kind) }
      : { grant: jwtBearerGrant, form: jwtBearerParameters(target, subject.token) };
  for (const [name, value] of Object.entries({ ...settings.dialect.parameters, ...order.parameters }))
    request.form.set(name, value);
  return request;
}
