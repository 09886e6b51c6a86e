import type { Actor } from '../trust/act-claim.ts';
import type { CheckedAnswer } from './check-answer.ts';
import type { CheckedToken, WantedActor, WantedToken } from './check-token.ts';
import { IssuedToken } from './issued-token.ts';
import { Rejection } from './rejection.ts';
import type { ServiceSettings } from './service-settings.ts';
import { checkSubjectTime } from './subject-rules.ts';
import type { TokenOrder } from './token-order.ts';

/** Where a service says nothing of a token's life, the token is used this long. */
const unstatedLifeMs = 60_000;

/** What the token for an order must say, by the settings of its service. */
export function wantedToken(order: TokenOrder, settings: ServiceSettings, names: readonly Actor[]): WantedToken {
  const { subject, resource } = order;
  return {
    issuer: settings.issuer,
    audience: resource === undefined ? order.audience : [...order.audience, resource],
    scopes: order.scopes,
    sub: settings.expect.sub === 'same' ? subject?.sub : undefined,
    act: wantedActor(order, settings.expect.act, names),
    jkt: order.proofKey?.jkt,
    maxLifetimeMs: settings.max_lifetime,
  };
}

/** What `act` must be: nothing in a token of our own, else as the service's profile says. */
function wantedActor(order: TokenOrder, expect: WantedActor['expect'], names: readonly Actor[]): WantedActor {
  if (expect === 'any') return { expect };
  // A token of our own has us as its subject: there is nobody that we act for.
  if (expect === 'none' || order.subject === undefined) return { expect: 'none' };
  return { expect, names, inbound: order.subject.act };
}

/**
 * The token of a checked answer, with the time that we may use it: the shortest of its own `exp`, `expires_in`, the life of the
 * subject token and the tool's `use_for`. Throws when nothing is left of it.
 */
export function issueToken(
  answer: CheckedAnswer,
  said: CheckedToken | undefined,
  order: TokenOrder,
  askedAtMs: number,
  nowMs: number,
): IssuedToken {
  // Counted from the moment of asking: the service's clock started no earlier.
  const { expiresInSeconds } = answer;
  const answerEndMs = expiresInSeconds === undefined ? undefined : askedAtMs + expiresInSeconds * 1000;
  const validUntilMs = Math.min(said?.expiresAtMs ?? Infinity, answerEndMs ?? Infinity);
  const statedMs = validUntilMs === Infinity ? askedAtMs + unstatedLifeMs : validUntilMs;
  const expiresAtMs = Math.min(statedMs, askedAtMs + order.useForMs, order.subject?.expiresAtMs ?? Infinity);
  if (expiresAtMs <= nowMs) {
    checkSubjectTime(order.subject, nowMs, order.service);
    throw new Rejection('lifetime');
  }
  return new IssuedToken({
    text: answer.token.reveal(),
    service: order.service,
    audience: said?.audience ?? order.audience,
    scopes: said?.scopes ?? answer.scopes ?? order.scopes ?? [],
    tokenType: answer.tokenType,
    expiresAtMs,
    validUntilMs: validUntilMs === Infinity ? undefined : validUntilMs,
    issuedAtMs: nowMs,
  });
}
