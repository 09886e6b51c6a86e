import type { Actor } from '../trust/act-claim.ts';
import { clockSkewSeconds } from '../trust/issuers.ts';
import { type CheckedAnswer, checkScopes } from './check-answer.ts';
import type { CheckedToken, WantedActor, WantedToken } from './check-token.ts';
import { handingMs, IssuedToken, lastMomentMs } from './issued-token.ts';
import { Rejection } from './rejection.ts';
import type { ServiceSettings } from './service-settings.ts';
import { checkSubjectTime, scopesOf } from './subject-rules.ts';
import { maxStatementMs, tokenKinds } from './token-kinds.ts';
import type { TokenOrder } from './token-order.ts';

/** Where a service says nothing of a token's life, the token is used this long. */
const unstatedLifeMs = 60_000;

/** What the token for an order must say, by the settings of its service. */
export function wantedToken(order: TokenOrder, settings: ServiceSettings, names: readonly Actor[]): WantedToken {
  const { subject, resource } = order;
  const form = tokenKinds[order.kind];
  const asked = resource === undefined ? order.audience : [...order.audience, resource];
  return {
    form,
    issuer: settings.issuer,
    // A statement is for one reader; the resource that an ID-JAG names besides is what that reader may issue a token for.
    audience: form.statement === undefined ? asked : asked.slice(0, 1),
    scopes: wantedScopes(order, settings),
    details: order.details,
    clientId: order.clientId,
    workload:
      order.kind === 'txn_token' && settings.expect.workload === 'self' ? names.map(({ sub }) => sub) : undefined,
    sub: settings.expect.sub === 'same' ? subject?.sub : undefined,
    act: wantedActor(order, settings.expect.act, names),
    jkt: order.proofKey?.jkt,
    x5t: order.certificate?.thumbprint,
    maxLifetimeMs:
      form.statement === undefined ? settings.max_lifetime : Math.min(settings.max_lifetime, maxStatementMs),
    endsWithSubject: settings.expect.life === 'refuse',
  };
}

/** No wider than asked, and where the service does not narrow by itself, no wider than the subject token. */
function wantedScopes({ scopes, subject }: TokenOrder, { expect, dialect }: ServiceSettings) {
  const asked = dialect.scope_names === 'last' ? scopes?.flatMap((scope) => [scope, lastName(scope)]) : scopes;
  if (expect.scopes === 'asked' || subject === undefined) return asked;
  const own = scopesOf(subject);
  return asked === undefined ? own : asked.filter((scope) => own.includes(scope));
}

/** `User.Read` of `https://graph.example.org/User.Read`. */
function lastName(scope: string): string {
  return scope.slice(scope.lastIndexOf('/') + 1);
}

/** What `act` must be: nothing in a token of our own, else as the service's profile says. */
function wantedActor(order: TokenOrder, expect: WantedActor['expect'], names: readonly Actor[]): WantedActor {
  // A transaction token names the workload that asked in a claim of its own.
  if (expect === 'any' || order.kind === 'txn_token') return { expect: 'any' };
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
  wanted: WantedToken,
  order: TokenOrder,
  askedAtMs: number,
  nowMs: number,
): IssuedToken {
  // The type of a token tells of a DPoP key, but nothing beside the token itself tells of a certificate.
  if (said === undefined && order.certificate !== undefined) throw new Rejection('confirmation');
  // Counted from the moment of asking: the service's clock started no earlier.
  const { expiresInSeconds } = answer;
  const answerEndMs = expiresInSeconds === undefined ? undefined : askedAtMs + expiresInSeconds * 1000;
  const ends = [said?.expiresAtMs, answerEndMs].filter((end) => end !== undefined);
  // Used until the earlier of both, but good until the later: a short `expires_in` must not hide a token that lives on.
  const validUntilMs = ends.length === 0 ? undefined : Math.max(...ends);
  const subjectEndMs = order.subject?.expiresAtMs ?? Infinity;
  if (wanted.endsWithSubject && outlives(validUntilMs, order)) throw new Rejection('lifetime');
  // What neither token nor answer says is as asked (RFC 8693 2.2.1), and that may be more than we let through.
  const scopes = checkScopes(said?.scopes ?? answer.scopes ?? order.scopes ?? [], wanted.scopes) ?? [];
  const statedMs = ends.length === 0 ? askedAtMs + unstatedLifeMs : Math.min(...ends);
  // Our own limit counts from now: a service that was slow has told no lie about the life of its token.
  const expiresAtMs = Math.min(statedMs, nowMs + order.useForMs, subjectEndMs);
  if (expiresAtMs <= nowMs + handingMs + lastMomentMs) {
    checkSubjectTime(order.subject, nowMs, order.service);
    throw new Rejection('lifetime');
  }
  return new IssuedToken({
    text: answer.token.reveal(),
    service: order.service,
    audience: said?.audience ?? order.audience,
    scopes,
    tokenType: answer.tokenType,
    expiresAtMs,
    validUntilMs,
    issuedAtMs: nowMs,
  });
}

/** Whether a token is good for longer than its subject token, by more than clocks may differ. */
export function outlives(validUntilMs: number | undefined, { subject }: TokenOrder): boolean {
  if (subject === undefined || validUntilMs === undefined) return false;
  return validUntilMs > subject.expiresAtMs + clockSkewSeconds * 1000;
}
