import { InvalidRequest } from 'oidc-provider/lib/helpers/errors.js';
import type { RequestContext } from 'oidc-provider/lib/provider.js';
import type { LiveToken } from './access-token.ts';
import { delegate, mayAct, type Actor } from './delegation.ts';
import { findTarget, narrowScopes } from './grant-target.ts';
import { checkJwtSvid, matchesSpiffeId } from './jwt-svid-check.ts';
import { tokenExchange } from './service-client.ts';
import { TokenRequest, type GrantDesk } from './token-request.ts';

const tokenType = 'urn:ietf:params:oauth:token-type:';
const accessTokenType = `${tokenType}access_token`;
const jwtType = `${tokenType}jwt`;

/**
 * RFC 8693 with delegation. The result says who it is for (`sub` of the subject token), who uses it (`act`, outermost the actor
 * token's subject, then those who acted before), where, and for how long, which is never longer than the subject token.
 * A bad or unacceptable subject or actor token is `invalid_request`, as RFC 8693 2.2.2 says.
 */
export async function grantTokenExchange(desk: GrantDesk, ctx: RequestContext): Promise<void> {
  const request = await TokenRequest.read(desk, ctx, tokenExchange);
  const wanted = request.one('requested_token_type') ?? accessTokenType;
  if (wanted !== accessTokenType) throw new InvalidRequest('only access tokens are issued');
  const subject = await readSubject(desk, request);
  const actor = await readActor(desk, request);
  checkRelation(request, subject, actor);
  // Without an actor token the chain stays as it is: dropping it would hide who acted before.
  const act = actor === undefined ? subject.act : delegate(actor, subject.act);
  if (actor !== undefined && act === undefined) throw new InvalidRequest('the delegation chain is too long');
  const target = findTarget(desk.resources, { resource: request.all('resource'), audience: request.all('audience') });
  const scopes = narrowScopes(request.one('scope'), target, [subject.scopes, new Set(request.client.scopes)]);
  const expiresAt = Math.min(Math.floor(desk.now() / 1000) + desk.ttlSeconds, subject.expiresAt);
  const chain = act === undefined ? {} : { act };
  const order = { subject: subject.sub, audience: target.audience, scopes, expiresAt, ...chain };
  await request.grant(desk, order, { issued_token_type: accessTokenType });
}

/** On whose behalf: one of our own access tokens, live, and in the hands it was meant for. */
async function readSubject(desk: GrantDesk, request: TokenRequest): Promise<LiveToken> {
  const text = request.one('subject_token');
  const type = request.one('subject_token_type');
  if (text === undefined || type === undefined)
    throw new InvalidRequest('subject_token and subject_token_type are required');
  if (type !== accessTokenType && type !== jwtType)
    throw new InvalidRequest('this type of subject token is not accepted');
  const subject = await desk.tokens.findLive(text);
  if (subject === undefined) throw new InvalidRequest('the subject token is not active');
  const names = desk.clients.namesOf(request.client);
  // A token that was handed to somebody else is no authority here, whoever brings it.
  if (subject.clientId !== request.client.clientId && !subject.audience.some((name) => names.has(name))) {
    throw new InvalidRequest('the subject token is neither for this client nor issued to it');
  }
  return subject;
}

/** Who acts: a workload by its JWT-SVID, or the client by an access token of its own; nobody where no actor token is sent. */
async function readActor(desk: GrantDesk, request: TokenRequest): Promise<Actor | undefined> {
  const text = request.one('actor_token');
  const type = request.one('actor_token_type');
  if (text === undefined && type === undefined) return undefined;
  if (text === undefined || type === undefined)
    throw new InvalidRequest('actor_token and actor_token_type go together');
  if (type !== accessTokenType && type !== jwtType)
    throw new InvalidRequest('this type of actor token is not accepted');
  const own = await desk.tokens.findLive(text);
  if (own !== undefined) return ownActor(request, own);
  if (type !== jwtType || desk.spiffe === undefined) throw new InvalidRequest('the actor token is not active');
  const workload = await checkJwtSvid(text, desk.spiffe, desk.issuer, desk.now()).catch((error: unknown) => {
    throw new InvalidRequest(error instanceof Error ? error.message : 'the actor token is not valid');
  });
  const { spiffeId } = request.client;
  if (spiffeId !== undefined && !matchesSpiffeId(spiffeId, workload.spiffeId)) {
    throw new InvalidRequest('the actor is not the workload of this client');
  }
  return { sub: workload.spiffeId, ...(workload.issuer === undefined ? {} : { iss: workload.issuer }) };
}

/** An access token as actor token: the client's own, and proved where it is bound, or anybody who saw it could act with it. */
function ownActor(request: TokenRequest, own: LiveToken): Actor {
  if (own.clientId !== request.client.clientId)
    throw new InvalidRequest('the actor token was issued to another client');
  if (own.act !== undefined) throw new InvalidRequest('an actor token that is itself delegated is not accepted');
  if (own.jkt !== undefined && own.jkt !== request.jkt)
    throw new InvalidRequest('the key of the actor token was not proved');
  return { iss: own.iss, sub: own.sub };
}

/** Whether this actor may use this subject's token. */
function checkRelation(request: TokenRequest, subject: LiveToken, actor: Actor | undefined): void {
  // Leaving the actor token out must not be a way around `may_act`.
  if (subject.mayAct !== undefined && !mayAct(subject.mayAct, actor)) {
    throw new InvalidRequest('the subject does not allow this actor');
  }
  // A bound token whose key stayed with the hop before is taken only from a client that also shows who it is by an actor token.
  if (subject.jkt !== undefined && subject.jkt !== request.jkt && actor === undefined) {
    throw new InvalidRequest('the key of the subject token was not proved, and there is no actor token');
  }
}
