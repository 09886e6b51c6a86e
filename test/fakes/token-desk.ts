import { serviceProfiles } from '../../config/service-profiles.ts';
import { request } from 'undici';
import { type EndpointCall, EndpointFault } from '../../proxy/exchange/endpoint.ts';
import type { ClusterTokenSource } from '../../proxy/exchange/client-auth/kubernetes-jwt.ts';
import type { JwtSvidSource } from '../../proxy/exchange/client-auth/spiffe-jwt.ts';
import type { X509SvidSource } from '../../proxy/exchange/client-auth/spiffe-x509.ts';
import type { ExchangeTrail } from '../../proxy/exchange/exchange-trail.ts';
import type { ServiceSettings } from '../../proxy/exchange/service-settings.ts';
import { openTokenDesk, type TokenDesk } from '../../proxy/exchange/token-desk.ts';
import { makeTokenOrder, type TokenOrder, type TokenOrderParts } from '../../proxy/exchange/token-order.ts';
import { Refusal } from '../../proxy/refusal.ts';
import { Secret } from '../../proxy/trust/secret.ts';
import { realWorld, type World } from '../../proxy/world.ts';
import { decodeJwt } from 'jose';
import { type MintingDomain, openMintingDomain } from './jwt-svid-mint.ts';
import type { FakeTokenService } from './token-service.ts';

export const agentId = 'spiffe://example.org/invoice-bot';

/** The real world with a clock that tests can put forward. */
export interface ShiftedWorld extends World {
  aheadMs: number;
}

export function shiftedWorld(): ShiftedWorld {
  const real = realWorld([]);
  const world: ShiftedWorld = { ...real, aheadMs: 0, now: () => Date.now() + world.aheadMs };
  return world;
}

/** HTTP to an endpoint with undici: no redirect followed, time and size bounded. */
export const callEndpoint: EndpointCall = async (url, init) => {
  const signal = AbortSignal.timeout(init.timeoutMs);
  try {
    const { method, headers } = init;
    const reply = await request(url, { method, headers, body: init.body ?? null, signal });
    let body = '';
    for await (const chunk of reply.body.setEncoding('utf8')) {
      body += String(chunk);
      if (body.length > init.maxBytes) throw new EndpointFault('oversize');
    }
    const flat = Object.entries(reply.headers).map(([name, value]) => [name, value?.toString()]);
    return { status: reply.statusCode, headers: Object.fromEntries(flat), body };
  } catch (error) {
    if (error instanceof EndpointFault) throw error;
    throw new EndpointFault(signal.aborted ? 'timeout' : 'unreachable');
  }
};

/** The same, to a service whose answers state this `expires_in`, whatever their tokens say. */
export function statingLife(seconds: number): EndpointCall {
  return async (url, init) => {
    const reply = await callEndpoint(url, init);
    if (url.pathname !== '/token' || reply.status !== 200) return reply;
    return { ...reply, body: reply.body.replace(/"expires_in":\d+/, `"expires_in":${seconds}`) };
  };
}

/** Keeps all that a desk reports. */
export class RecordingTrail implements ExchangeTrail {
  readonly issuedTokens: Parameters<ExchangeTrail['issued']>[0][] = [];
  readonly rejectedTokens: Parameters<ExchangeTrail['rejected']>[0][] = [];
  readonly cutTokens: Parameters<ExchangeTrail['cut']>[0][] = [];
  readonly revokedTokens: Parameters<ExchangeTrail['revoked']>[0][] = [];
  readonly exchanges: string[] = [];
  readonly revocations: string[] = [];
  readonly results: string[] = [];

  issued(info: Parameters<ExchangeTrail['issued']>[0]): void {
    this.issuedTokens.push(info);
  }
  rejected(info: Parameters<ExchangeTrail['rejected']>[0]): void {
    this.rejectedTokens.push(info);
  }
  cut(info: Parameters<ExchangeTrail['cut']>[0]): void {
    this.cutTokens.push(info);
  }
  revoked(info: Parameters<ExchangeTrail['revoked']>[0]): void {
    this.revokedTokens.push(info);
  }
  exchanged(service: string, outcome: string, seconds: number): void {
    if (!(seconds >= 0)) throw new Error('no time');
    this.exchanges.push(`${service} ${outcome}`);
  }
  revocation(cause: string, outcome: string): void {
    this.revocations.push(`${cause} ${outcome}`);
  }
  cache(result: string): void {
    this.results.push(result);
  }
}

/** A desk at one service, with what a test needs to look at. */
export interface DeskUnderTest {
  readonly desk: TokenDesk;
  readonly trail: RecordingTrail;
  readonly world: ShiftedWorld;
  readonly domain: MintingDomain;
  /** Audiences that JWT-SVIDs were asked for. */
  readonly svidAudiences: string[];
  /** Tasks whose grant was found dead. */
  readonly deadGrants: string[];
  /** Error codes of the service that were told, as `corp invalid_client`. */
  readonly serviceErrors: string[];
  /** An order for alice at the tool crm; parts overwrite. */
  readonly order: (parts?: Partial<TokenOrderParts>, subjectClaims?: Record<string, unknown>) => Promise<TokenOrder>;
}

/** Opens a desk at a service; `settings` overwrite what a plain RFC 8693 service with an actor has. */
export async function openDesk(
  service: Pick<FakeTokenService, 'issuer' | 'subjectToken'>,
  settings: Omit<Partial<ServiceSettings>, 'expect'> & { readonly expect?: Partial<ServiceSettings['expect']> } = {},
  options: {
    svids?: JwtSvidSource;
    x509Svids?: X509SvidSource;
    clusterTokens?: ClusterTokenSource;
    call?: EndpointCall;
    domain?: MintingDomain;
  } = {},
): Promise<DeskUnderTest> {
  const trail = new RecordingTrail();
  const world = shiftedWorld();
  const domain = options.domain ?? (await openMintingDomain('example.org'));
  const svidAudiences: string[] = [];
  const svids: JwtSvidSource = {
    fetchJwtSvid: async (audience) => {
      svidAudiences.push(audience);
      const token = await domain.mint(agentId, audience);
      return { token: () => token, spiffeId: agentId, expiresAtMs: Date.now() + 60_000 };
    },
  };
  const corp: ServiceSettings = {
    issuer: service.issuer,
    client_auth: 'spiffe_jwt',
    actor: 'jwt-svid',
    bound_subject: 'accept',
    verify: 'jwt',
    dialect: serviceProfiles.rfc8693.dialect,
    max_lifetime: 3_600_000,
    timeout: 2000,
    ...settings,
    expect: { ...serviceProfiles.rfc8693.expect, act: 'self', typ: ['at+jwt'], ...settings.expect },
  };
  const deadGrants: string[] = [];
  const serviceErrors: string[] = [];
  const desk = openTokenDesk({
    onDeadGrant: (txn) => deadGrants.push(txn),
    onServiceError: (name, error) => serviceErrors.push(`${name} ${error}`),
    services: new Map([['corp', corp]]),
    world,
    call: options.call ?? callEndpoint,
    jwtSvids: options.svids ?? svids,
    x509Svids: options.x509Svids ?? { certificate: () => undefined },
    clusterTokens: options.clusterTokens ?? { readToken: () => Promise.reject(new Error('no cluster')) },
    trail,
  });
  const order = async (parts: Partial<TokenOrderParts> = {}, subjectClaims: Record<string, unknown> = {}) => {
    const text = await service.subjectToken(subjectClaims);
    const claims = decodeJwt(text);
    return makeTokenOrder({
      txn: 'txn-1',
      tool: 'crm',
      toolOrigin: 'https://crm.example.org',
      service: 'corp',
      issuer: service.issuer,
      grant: 'token_exchange',
      subject: {
        token: new Secret(text),
        tokenType: 'urn:ietf:params:oauth:token-type:access_token',
        iss: service.issuer,
        sub: claims.sub ?? '',
        expiresAtMs: (claims.exp ?? 0) * 1000,
        act: claims['act'],
      },
      audience: ['crm'],
      scopes: ['crm.read'],
      useForMs: 300_000,
      ...parts,
    });
  };
  return { desk, trail, world, domain, svidAudiences, deadGrants, serviceErrors, order };
}

/** The refusal that a call ends in; throws when it does not. */
export async function refusalOf(work: () => unknown): Promise<Refusal> {
  try {
    await work();
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
  throw new Error('not refused');
}
