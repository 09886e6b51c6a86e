import { type Actor, isOneOf, isSameAct, readActors } from '../trust/act-claim.ts';
import { clockSkewSeconds } from '../trust/issuers.ts';
import { isObject } from '../trust/strict-json.ts';
import { InvalidToken, isSeconds, readAudience } from '../trust/strict-jws.ts';
import { type AuthorizationDetails, checkDetails } from './authorization-details.ts';
import { checkScopes } from './check-answer.ts';
import type { RejectCause } from './exchange-trail.ts';
import { Rejection } from './rejection.ts';
import type { TokenForm } from './token-kinds.ts';

/** What a token must say to be the one that was asked for (W5). */
export interface WantedToken {
  readonly form: TokenForm;
  readonly issuer: string;
  /** Audiences and resource that were asked for: the token names at least one of them, and nothing else. */
  readonly audience: readonly string[];
  readonly scopes: readonly string[] | undefined;
  readonly details: AuthorizationDetails | undefined;
  /** As whom the reader of a statement knows us; undefined where it is not said. */
  readonly clientId: string | undefined;
  /** Our names as the workload that asked; undefined where that is not said or not compared. */
  readonly workload: readonly string[] | undefined;
  /** Undefined where the subject is not compared (`expect.sub: any`, or a token of our own). */
  readonly sub: string | undefined;
  readonly act: WantedActor;
  /** Thumbprint of our key; undefined where no key is bound. A bearer token must not be bound to anything. */
  readonly jkt: string | undefined;
  /** Thumbprint of our certificate (RFC 8705 3.1); undefined where none is bound. */
  readonly x5t: string | undefined;
  readonly maxLifetimeMs: number;
  /** Whether it must not outlive the subject token. */
  readonly endsWithSubject: boolean;
}

/** `self`: we are the current actor, under one of these names, and the chain before us is unchanged. */
export type WantedActor =
  | { readonly expect: 'any' }
  | { readonly expect: 'none' }
  | { readonly expect: 'self'; readonly names: readonly Actor[]; readonly inbound: unknown };

/** Claims of a token: of its signed payload, or of the introspection answer, where more members are optional. */
export interface TokenClaims {
  readonly from: 'jwt' | 'introspection';
  readonly claims: Readonly<Record<string, unknown>>;
}

/** What of a good token goes into its record. */
export interface CheckedToken {
  readonly audience: readonly string[];
  readonly scopes: readonly string[] | undefined;
  readonly expiresAtMs: number | undefined;
}

/** Compares what a token says with what it must say. Throws `Rejection` for the first thing that differs. */
export function checkToken(token: TokenClaims, wanted: WantedToken, nowMs: number): CheckedToken {
  const { claims } = token;
  checkIssuer(token, wanted);
  const audience = checkAudience(claims['aud'], wanted.audience);
  if (wanted.sub !== undefined && claims['sub'] !== wanted.sub) throw new Rejection('subject');
  checkActor(claims['act'], wanted.act);
  checkConfirmation(claims['cnf'], wanted);
  // `scp` is what two well-known services call it.
  const scopes = checkScopes(claims['scope'], wanted.scopes) ?? checkScopes(claims['scp'], wanted.scopes);
  if (claims['scope'] !== undefined) checkScopes(claims['scp'], wanted.scopes);
  checkDetails(claims['authorization_details'], wanted.details);
  checkStatement(claims, wanted);
  return { audience, scopes, expiresAtMs: checkTimes(token, wanted.maxLifetimeMs, nowMs) };
}

function checkIssuer({ from, claims }: TokenClaims, { form, issuer }: WantedToken): void {
  // An introspection answer comes from the issuer itself and may leave its name out (RFC 7662 2.2).
  const mayBeAbsent = from === 'introspection' || form.statement?.anonymous === true;
  if (mayBeAbsent && claims['iss'] === undefined) return;
  if (claims['iss'] !== issuer) throw new Rejection('issuer');
}

/** At least one audience, and every one of them asked for. Compared as they are: no case folding, no slash trimming. */
function checkAudience(aud: unknown, allowed: readonly string[]): readonly string[] {
  const members = orReject('audience', () => readAudience(aud));
  // One audience more is one more place where the token can be used.
  if (!members.every((member) => allowed.includes(member))) throw new Rejection('audience');
  return members;
}

/** Who acts. The form is checked even where any actor will do: a chain that cannot be read cannot be recorded. */
function checkActor(act: unknown, wanted: WantedActor): void {
  const actors = orReject('actor', () => readActors(act));
  if (wanted.expect === 'any') return;
  if (wanted.expect === 'none') {
    if (act !== undefined) throw new Rejection('actor');
    return;
  }
  const [current] = actors;
  if (current === undefined || !isOneOf(current, wanted.names)) throw new Rejection('actor');
  // History that was cut or rewritten hides a hop (actor profile: preserved, never reordered, truncated or dropped).
  if (!isSameAct(isObject(act) ? act['act'] : undefined, wanted.inbound)) throw new Rejection('actor');
}

/** What a statement has to say beyond an access token: its reader trusts it for nothing else, and takes it from the client that it names. */
function checkStatement(claims: TokenClaims['claims'], { form, clientId, workload }: WantedToken): void {
  const { statement } = form;
  if (statement === undefined) return;
  for (const name of statement.claims) {
    if (typeof claims[name] !== 'string' || claims[name] === '') throw new Rejection('malformed');
  }
  if (!isSeconds(claims['iat'])) throw new Rejection('time');
  if (clientId !== undefined && claims['client_id'] !== clientId) throw new Rejection('client');
  // The workload that asked for a transaction token: another one's would be ours in name only.
  const asked = claims['req_wl'];
  if (workload !== undefined && !workload.some((name) => name === asked)) throw new Rejection('actor');
}

/** Bound to our key or certificate, or to nothing: a token bound to another is of use to somebody else only (RFC 9449 6, RFC 8705 3). */
function checkConfirmation(cnf: unknown, { jkt, x5t }: Pick<WantedToken, 'jkt' | 'x5t'>): void {
  const said = isObject(cnf) ? cnf : {};
  if (jkt === undefined && x5t === undefined && cnf !== undefined) throw new Rejection('confirmation');
  if (jkt !== undefined && said['jkt'] !== jkt) throw new Rejection('confirmation');
  if (x5t === undefined) return;
  // With a key beside the certificate, the tool would ask for a proof too, and by a key that is not known here.
  if (said['x5t#S256'] !== x5t || Object.keys(said).length > 1) throw new Rejection('confirmation');
}

/** End of the token, ms. Counted from `iat` as well as from now: back-dating hides a long life from one of the two. */
function checkTimes({ from, claims }: TokenClaims, maxLifetimeMs: number, nowMs: number): number | undefined {
  const { exp, iat, nbf } = claims;
  const latestStart = nowMs / 1000 + clockSkewSeconds;
  for (const start of [iat, nbf]) {
    if (start !== undefined && (!isSeconds(start) || start > latestStart)) throw new Rejection('time');
  }
  if (exp === undefined && from === 'introspection') return undefined;
  if (!isSeconds(exp) || exp * 1000 <= nowMs) throw new Rejection('time');
  const longest = maxLifetimeMs / 1000 + clockSkewSeconds;
  if (exp - nowMs / 1000 > longest) throw new Rejection('lifetime');
  if (isSeconds(iat) && exp - iat > longest) throw new Rejection('lifetime');
  return exp * 1000;
}

/** A reading of the token's own vocabulary; what does not read is a difference like any other. */
function orReject<T>(cause: RejectCause, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof InvalidToken) throw new Rejection(cause);
    throw error;
  }
}
