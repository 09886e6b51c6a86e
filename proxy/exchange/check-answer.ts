import { processGenericTokenEndpointResponse, UnsupportedOperationError } from 'oauth4webapi';
import { clockSkewSeconds } from '../trust/issuers.ts';
import type { Secret } from '../trust/secret.ts';
import { checkDetails } from './authorization-details.ts';
import { asResponse } from './endpoint.ts';
import type { WantedToken } from './check-token.ts';
import { Rejection } from './rejection.ts';
import type { RawAnswer } from './service-client.ts';
import type { TokenForm } from './token-kinds.ts';
import type { TokenOrder } from './token-order.ts';

/** A token answer whose own members are what was asked for. What the token itself says is not known yet. */
export interface CheckedAnswer {
  readonly token: Secret;
  readonly tokenType: 'Bearer' | 'DPoP' | 'N_A';
  readonly expiresInSeconds: number | undefined;
  /** As the answer states them; absent means "as asked" (RFC 8693 2.2.1). */
  readonly scopes: readonly string[] | undefined;
}

/** Checks the members of a token answer (W5). Throws `Rejection`. */
export async function checkAnswer(
  raw: RawAnswer,
  order: Pick<TokenOrder, 'grant' | 'proofKey'>,
  wanted: Pick<WantedToken, 'form' | 'issuer' | 'scopes' | 'details' | 'maxLifetimeMs'>,
): Promise<CheckedAnswer> {
  // Passing on what the service was given would send a user's or our own credential to a tool.
  if (raw.echoed) throw new Rejection('echo');
  if (raw.token === undefined) throw new Rejection('malformed');
  const { json } = raw;
  await checkShape(json, wanted.issuer);
  const tokenType = checkTypes(json, order, wanted.form);
  checkDetails(json['authorization_details'], wanted.details);
  return {
    token: raw.token,
    tokenType,
    expiresInSeconds: checkLifetime(json['expires_in'], wanted.maxLifetimeMs),
    scopes: checkScopes(json['scope'], wanted.scopes),
  };
}

/** Scopes of an answer or a token, none of which may be one that was not asked for. Throws `Rejection('scope')`. */
export function checkScopes(value: unknown, asked: readonly string[] | undefined): readonly string[] | undefined {
  if (value === undefined) return undefined;
  const list: unknown = typeof value === 'string' ? value.split(' ').filter((scope) => scope !== '') : value;
  if (!isTextList(list)) throw new Rejection('scope');
  if (asked !== undefined && !list.every((scope) => asked.includes(scope))) throw new Rejection('scope');
  return list;
}

/** The library knows bearer and DPoP; that it is the one that was asked for is checked below. */
const recognizedTokenTypes = { n_a: () => undefined };

/** The validating half of oauth4webapi, over what we have parsed: both must have read the same thing. */
async function checkShape(json: Readonly<Record<string, unknown>>, issuer: string): Promise<void> {
  // An ID token beside it is nothing to us; the library would check it as if we were its reader.
  const { id_token: _unused, ...answer } = json;
  try {
    await processGenericTokenEndpointResponse({ issuer }, { client_id: 'unnamed' }, asResponse(answer), {
      recognizedTokenTypes,
    });
  } catch (error) {
    if (error instanceof UnsupportedOperationError || typeof json['token_type'] !== 'string') {
      throw new Rejection('token_type');
    }
    // The library's errors carry the whole answer as their cause.
    throw new Rejection('malformed');
  }
}

/** What kind of token it is said to be: the one that was asked for, and bound if and only if a proof was made. */
function checkTypes(
  json: Readonly<Record<string, unknown>>,
  order: Pick<TokenOrder, 'grant' | 'proofKey'>,
  { type, statement }: TokenForm,
): CheckedAnswer['tokenType'] {
  // A statement said to be an access token would be sent to tools by others; an access token said to be none is no answer to us (RFC 8693 2.2.1).
  // Bearer where a proof was made is a downgrade: the token would work without our key (RFC 9449 5). Case does not count (RFC 6749 7.1).
  const tokenType = statement !== undefined ? 'N_A' : order.proofKey === undefined ? 'Bearer' : 'DPoP';
  if (String(json['token_type']).toLowerCase() !== tokenType.toLowerCase()) throw new Rejection('token_type');
  if (order.grant === 'token_exchange' && json['issued_token_type'] !== type) throw new Rejection('issued_token_type');
  // Nothing of a statement is renewed: a refresh token beside it would outlive what it states.
  if (statement !== undefined && json['refresh_token'] !== undefined) throw new Rejection('malformed');
  return tokenType;
}

/** Seconds of `expires_in`. None at all is no lie: the token itself may say it, and else a short default holds. */
function checkLifetime(value: unknown, maxLifetimeMs: number): number | undefined {
  if (value === undefined) return undefined;
  // Some services send the number as a text.
  const seconds = typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value;
  if (typeof seconds !== 'number' || !(seconds > 0)) throw new Rejection('lifetime');
  if ((seconds - clockSkewSeconds) * 1000 > maxLifetimeMs) throw new Rejection('lifetime');
  return seconds;
}

function isTextList(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((member) => typeof member === 'string');
}
