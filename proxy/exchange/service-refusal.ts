import type { Dialect } from '../../config/service-profiles.ts';
import { Refusal, type ServiceError } from '../refusal.ts';
import type { RefusalCode } from '../refusal-kinds.ts';
import { MetadataUnavailable } from '../trust/issuer-metadata.ts';
import { KeysUnavailable } from '../trust/jwks.ts';
import { InvalidJson, parseStrictJson } from '../trust/strict-json.ts';
import { DeadGrant } from './dead-grant.ts';
import { EndpointFault, type EndpointReply, isJson } from './endpoint.ts';
import type { ExchangeOutcome } from './exchange-trail.ts';
import { Rejection } from './rejection.ts';
import { isGatewayFailure } from './retry.ts';
import { knownError, wordsOf } from './service-errors.ts';

/** Longest pause that a service may ask of us with Retry-After. */
const maxPauseSeconds = 60;

/** RFC 6749 5.2, RFC 8693 2.2.2 and RFC 9449 codes with a meaning of their own; any other 4xx is a refusal of this exchange. */
const codeOfError: Readonly<Record<string, RefusalCode>> = {
  // Our own credential is not accepted, or the service is not well: neither is the agent's doing, and both may pass.
  invalid_client: 'token_service_unavailable',
  server_error: 'token_service_unavailable',
  temporarily_unavailable: 'token_service_unavailable',
};

/**
 * How Keycloak says that our client may not exchange tokens at all. RFC 8693 has the code of a bad subject token for it too: told by the
 * code alone, one switch at the service would end the tasks of all users, who would sign in again in vain.
 */
const exchangeNotAllowed = 'Standard token exchange is not enabled for the requested client';
/** Of an audience that is no client of its realm; by the same code and status it refuses a signed assertion. */
const audienceUnknown = 'Audience not found';
/** Of one that no scope of the request brings; the rest of the text is the audience. */
const audienceNotGranted = 'Requested audience not available: ';
const wrongAudience = 'does not grant a token for the audience that was asked for';

/** Of our own authentication, after the name of the service. */
const notAccepted = "does not accept this sidecar's client authentication";

/** Sentences for agents, after the name of the service. */
const sentences: Readonly<Partial<Record<RefusalCode, string>>> = {
  token_service_unavailable: 'does not answer',
  grant_dead: 'says that the grant behind this task is no longer valid',
  exchange_refused: 'does not grant this token',
  token_rejected: 'returned a token that is not what was asked for',
};

/** A refusal that names the service as the configuration does, and of a cause from elsewhere nothing but a code of the closed set. */
export function refuse(code: RefusalCode, service: string, retryAfterSeconds?: number, error?: ServiceError): Refusal {
  return new Refusal(code, sentenceOf(code, service, error), retryAfterSeconds, undefined, error);
}

function sentenceOf(code: RefusalCode, service: string, error?: ServiceError): string | undefined {
  const sentence = sentences[code];
  if (sentence === undefined) return undefined;
  if (error === undefined) return `The token service "${service}" ${sentence}.`;
  // Of a grant that is dead we know more than its code says: RFC 8693 2.2.2 has the same for what is merely malformed.
  const second = error === 'invalid_request' ? ' or that this client may not exchange tokens' : '';
  return inWords(service, error, code === 'grant_dead' ? sentence + second : undefined);
}

function inWords(service: string, error: ServiceError, meaning?: string): string {
  return `The token service "${service}" ${wordsOf(error, meaning)}.`;
}

/** Of a refusal whose cause is known better than by the code of the service. @param meaning after the name of the service. */
function refuseExchange(service: string, error: ServiceError, meaning: string): Refusal {
  return new Refusal('exchange_refused', inWords(service, error, meaning), undefined, undefined, error);
}

/** The `error` member of an error answer, if there is one. */
export function readErrorCode(reply: EndpointReply): string | undefined {
  const { error } = readErrorMembers(reply);
  return typeof error === 'string' ? error : undefined;
}

/** The description is good for a comparison with a text of ours and for nothing else: it may quote what we sent. */
function readErrorMembers(reply: EndpointReply): { readonly error?: unknown; readonly error_description?: unknown } {
  if (!isJson(reply)) return {};
  try {
    return parseStrictJson(reply.body);
  } catch (fault) {
    if (fault instanceof InvalidJson) return {};
    throw fault;
  }
}

/** An answer that does not say what an introspection asks for. */
export function refuseUnanswered(reply: EndpointReply, service: string): Refusal {
  return refuse('token_service_unavailable', service, undefined, knownError(readErrorCode(reply)));
}

/**
 * What an answer other than 200 means for the call: a `Refusal`, a `Rejection` where a service has no business to answer so, or an
 * `EndpointFault` where it was not the service that answered.
 */
export function readFailure(
  reply: EndpointReply,
  service: string,
  grant: string,
  dialect: Pick<Dialect, 'invalid_client'>,
): Refusal | Rejection | EndpointFault {
  const { status } = reply;
  // 2xx without a token, 1xx and 3xx. A redirect would carry the subject token and our assertion to wherever it points.
  if (status < 400) return new Rejection(status >= 300 ? 'redirect' : 'status');
  if (isGatewayFailure(reply)) return new EndpointFault('unavailable');
  if (status >= 500 || status === 429 || status === 408) {
    return refuse('token_service_unavailable', service, readRetryAfter(reply.headers));
  }
  const error = readErrorCode(reply);
  // RFC 8693 2.2.2 has this code for a subject token that is not good, for whatever reason; Keycloak says it when the session is over.
  const onToken = grant.endsWith(':token-exchange') && error === 'invalid_request';
  const { error_description: description } = readErrorMembers(reply);
  if (onToken && description === exchangeNotAllowed)
    return refuseExchange(service, error, 'does not let this client exchange tokens');
  if (onToken && typeof description === 'string' && description.startsWith(audienceNotGranted))
    return refuseExchange(service, error, wrongAudience);
  // As our own authentication it would stop the tools of this service whose audiences are good, and page.
  if (error === 'invalid_client' && dialect.invalid_client === 'audience-by-text' && description === audienceUnknown)
    return refuseExchange(service, error, wrongAudience);
  // A status for client authentication alone (RFC 6749 5.2): Keycloak says so of a wrong secret.
  if (status === 401 && error === 'unauthorized_client')
    return new Refusal('token_service_unavailable', inWords(service, error, notAccepted), undefined, undefined, error);
  if (onToken || error === 'invalid_grant') return new DeadGrant(sentenceOf('grant_dead', service, error), error);
  const known = error === undefined || !Object.hasOwn(codeOfError, error) ? undefined : codeOfError[error];
  return refuse(known ?? 'exchange_refused', service, undefined, knownError(error));
}

/** What the absence of an answer means. Anything that is not one of our own errors is a fault and stays what it is. */
export function readFault(fault: unknown, service: string): unknown {
  if (fault instanceof EndpointFault && fault.reason === 'oversize') return new Rejection('oversize');
  const isAbsence =
    fault instanceof EndpointFault || fault instanceof MetadataUnavailable || fault instanceof KeysUnavailable;
  return isAbsence ? refuse('token_service_unavailable', service) : fault;
}

/**
 * Seconds of Retry-After, 1 to 60 (RFC 9110 10.2.3); undefined where it is absent or cannot be read. A date is taken relative to the
 * `Date` of the same answer: the clocks of two machines differ, and only the service's own says how long it meant.
 */
export function readRetryAfter(headers: EndpointReply['headers']): number | undefined {
  const value = headers['retry-after']?.trim() ?? '';
  const seconds = /^\d{1,9}$/.test(value) ? Number(value) : (readDate(value) - readDate(headers['date'])) / 1000;
  return Number.isNaN(seconds) ? undefined : Math.min(Math.max(seconds, 1), maxPauseSeconds);
}

/** Milliseconds of an IMF-fixdate (RFC 9110 5.6.7); NaN for anything else, such as what `Date` guesses from a lone number. */
function readDate(value: string | undefined): number {
  const isDate = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(value ?? '');
  return isDate ? Date.parse(value ?? '') : Number.NaN;
}

/** How an exchange that ended in this refusal is counted. */
export function readOutcome({ code }: Refusal): ExchangeOutcome {
  switch (code) {
    case 'token_service_unavailable':
    case 'grant_dead':
    case 'exchange_refused':
    case 'token_rejected':
    case 'identity_unavailable':
      return code;
    default:
      return 'fault';
  }
}
