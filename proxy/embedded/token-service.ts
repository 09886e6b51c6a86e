import { createPublicKey, generateKeyPairSync, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { Provider, RequestContext } from 'oidc-provider/lib/provider.js';
import { AccessTokens } from './access-token.ts';
import { CallLog, type CallCounters, type ServiceCall } from './call-log.ts';
import { grantClientCredentials } from './client-credentials-grant.ts';
import type { Actor } from './delegation.ts';
import { enterFrontDoor } from './front-door.ts';
import type { ServiceResource } from './grant-target.ts';
import type { TrustDomain } from './jwt-svid-check.ts';
import { openProvider } from './oauth-provider.ts';
import { ClientTable, signInClientId, tokenExchange, type ServiceClient } from './service-client.ts';
import { TokenLedger } from './token-ledger.ts';
import { grantTokenExchange } from './token-exchange-grant.ts';
import type { GrantDesk } from './token-request.ts';

/** A user that subject tokens can be minted for. */
export interface ServiceSubject {
  readonly sub: string;
  /** Who alone may act for the user (`may_act`, RFC 8693 4.4). */
  readonly mayAct?: Actor;
}

/** What the service knows. */
export interface TokenServiceOptions {
  /** 0, the default, picks a free one. */
  readonly port?: number;
  readonly clients: readonly ServiceClient[];
  readonly resources: readonly ServiceResource[];
  /** If given, subject tokens are minted for these users only. */
  readonly subjects?: readonly ServiceSubject[];
  /** Trust domain of `spiffe_jwt` clients and of JWT-SVIDs as actor tokens; without it both are refused. */
  readonly spiffe?: TrustDomain;
  readonly accessTokenTtlSeconds: number;
  /** Answer `use_dpop_nonce` to DPoP proofs without a nonce. */
  readonly demandNonce?: boolean;
  /** Milliseconds since the epoch. May run ahead of the real time, never behind it; DPoP proofs are judged by the real time. */
  readonly clock?: () => number;
}

/** A user's access token to be made. `audience` names who may exchange it: a client id, or a resource of that client. */
export interface SubjectTokenOrder {
  readonly sub: string;
  readonly audience: string | readonly string[];
  readonly scopes: readonly string[];
  readonly ttlSeconds: number;
  /** The client that it is issued to, which may then revoke it; by default one that nobody can be. */
  readonly clientId?: string;
  /** Thumbprint of the key that it is bound to. */
  readonly jkt?: string;
}

/** A running token service. */
export interface TokenService {
  readonly issuer: string;
  /** Requests that arrived, granted or refused. */
  readonly counters: CallCounters;
  /** The last 10,000 of them, oldest first, without any secret. */
  readonly calls: readonly ServiceCall[];
  /** What went wrong inside, if anything did; nothing is printed. */
  readonly faults: readonly unknown[];
  mintSubjectToken(order: SubjectTokenOrder): Promise<string>;
  /** Takes back any token of this service, as its operator may; false when it was not live. */
  revokeToken(token: string): Promise<boolean>;
  close(): Promise<void>;
}

/**
 * Opens an OAuth token service on 127.0.0.1 for the demo and the tests: discovery, keys, token endpoint (client credentials, token
 * exchange), introspection and revocation that work for the JWTs it issues. Its keys and tokens live as long as it does.
 */
export async function openTokenService(options: TokenServiceOptions): Promise<TokenService> {
  const now = options.clock ?? Date.now;
  const seconds = (): number => Math.floor(now() / 1000);
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const clients = new ClientTable(options.clients, options.resources);
  const ledger = new TokenLedger(seconds);
  const log = new CallLog();
  const faults: unknown[] = [];
  // The port is part of the issuer, so the listener comes before the provider; it serves once that is there.
  const server = createServer();
  server.listen(options.port ?? 0, '127.0.0.1');
  await once(server, 'listening');
  const issuer = `http://127.0.0.1:${portOf(server)}`;
  const settings = {
    signingKey: { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg: 'ES256', use: 'sig' },
    clients: clients.registrations(),
    ttlSeconds: options.accessTokenTtlSeconds,
    demandNonce: options.demandNonce ?? false,
    spiffe: options.spiffe !== undefined,
  };
  const provider = openProvider(issuer, settings, ledger);
  watch(provider, log, faults);
  const tokens = new AccessTokens(provider, ledger, createPublicKey(privateKey), issuer, seconds);
  const { resources, spiffe } = options;
  const ttlSeconds = options.accessTokenTtlSeconds;
  registerGrants({ provider, issuer, tokens, ledger, clients, resources, spiffe, ttlSeconds, now });
  const door = { issuer, tokens, ledger, clients, spiffe, log, now, provider: provider.callback() };
  server.on('request', (request, response) => {
    enterFrontDoor(door, request, response).catch((error: unknown) => {
      faults.push(error);
      response.destroy();
    });
  });
  return {
    issuer,
    faults,
    calls: log.calls,
    get counters() {
      return log.counters;
    },
    mintSubjectToken: (order) => mint(tokens, options.subjects, order, seconds()),
    revokeToken: async (token) => {
      const jti = await tokens.findId(token);
      return jti !== undefined && ledger.revoke(jti);
    },
    close: () => closeServer(server),
  };
}

/** Both grants allow several targets; any other parameter that comes twice is refused by the provider. */
function registerGrants(desk: GrantDesk): void {
  const { provider } = desk;
  const targets = ['resource', 'audience'];
  const own = async (ctx: RequestContext): Promise<void> => grantClientCredentials(desk, ctx);
  provider.registerGrantType('client_credentials', own, ['scope', ...targets], targets);
  const exchange = async (ctx: RequestContext): Promise<void> => grantTokenExchange(desk, ctx);
  const tokenParameters = ['subject_token', 'subject_token_type', 'actor_token', 'actor_token_type'];
  const parameters = ['scope', 'requested_token_type', ...tokenParameters, ...targets];
  provider.registerGrantType(tokenExchange, exchange, parameters, targets);
}

/** Keeps the outcome of each request, and takes the errors that koa and the provider would otherwise print. */
function watch(provider: Provider, log: CallLog, faults: unknown[]): void {
  provider.use(async (ctx, next) => {
    await next();
    const error = typeof ctx.body === 'object' && ctx.body !== null && 'error' in ctx.body ? ctx.body.error : undefined;
    log.end(ctx.req, {
      status: ctx.status,
      clientId: ctx.oidc?.client?.clientId,
      error: typeof error === 'string' ? error : undefined,
    });
  });
  provider.on('error', (error) => faults.push(error));
  provider.on('server_error', (_ctx, error) => faults.push(error));
}

/** A sign-in without the user: what a login at this service would have ended with. */
async function mint(
  tokens: AccessTokens,
  subjects: readonly ServiceSubject[] | undefined,
  order: SubjectTokenOrder,
  seconds: number,
): Promise<string> {
  const subject = subjects?.find((entry) => entry.sub === order.sub);
  if (subjects !== undefined && subject === undefined) throw new Error(`no subject ${order.sub}`);
  const issued = await tokens.issue({
    clientId: order.clientId ?? signInClientId,
    subject: order.sub,
    audience: typeof order.audience === 'string' ? [order.audience] : order.audience,
    scopes: order.scopes,
    expiresAt: seconds + order.ttlSeconds,
    ...(order.jkt === undefined ? {} : { jkt: order.jkt }),
    ...(subject?.mayAct === undefined ? {} : { mayAct: subject.mayAct }),
  });
  return issued.text;
}

function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the service has no port');
  return address.port;
}

async function closeServer(server: Server): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  server.closeAllConnections();
  await closed;
}
