import { type Actor, mayAct } from '../trust/act-claim.ts';
import { InvalidToken, readStrictJws } from '../trust/strict-jws.ts';
import { handingMs, lastMomentMs } from './issued-token.ts';
import { refuse } from './service-refusal.ts';
import type { ServiceSettings } from './service-settings.ts';
import type { OrderSubject } from './token-order.ts';

/**
 * What a subject token forbids by itself, checked before the service sees it: there are services that forget (`may_act` was
 * bypassed by leaving the actor token out). Throws a `Refusal`.
 */
export function checkSubject(
  subject: OrderSubject,
  names: readonly Actor[],
  settings: Pick<ServiceSettings, 'bound_subject'>,
  service: string,
): void {
  const claims = readClaims(subject.token.reveal());
  if (settings.bound_subject === 'refuse' && claims['cnf'] !== undefined) throw refuse('exchange_refused', service);
  if (!mayAct(claims['may_act'], names)) throw refuse('exchange_refused', service);
}

/** A subject token that is over is refused before anybody is asked: some services exchange it all the same. */
export function checkSubjectTime(subject: OrderSubject | undefined, nowMs: number, service: string): void {
  if (subject !== undefined && subject.expiresAtMs <= nowMs + handingMs + lastMomentMs)
    throw refuse('grant_dead', service);
}

/** Claims of a token that was verified when its task was opened; an opaque token has none that we could read. */
function readClaims(text: string): Readonly<Record<string, unknown>> {
  try {
    return readStrictJws(text).payload;
  } catch (error) {
    if (error instanceof InvalidToken) return {};
    throw error;
  }
}

/** Scopes that a subject token says it has; none where it does not say, since unknown is never unlimited. */
export function scopesOf(subject: OrderSubject): readonly string[] {
  const claims = readClaims(subject.token.reveal());
  const said = claims['scope'] ?? claims['scp'];
  const list: unknown = typeof said === 'string' ? said.split(' ') : said;
  return Array.isArray(list) ? list.filter((scope) => typeof scope === 'string') : [];
}
