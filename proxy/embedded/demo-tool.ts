import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createRemoteJWKSet, customFetch, jwtVerify, type FetchImplementation, type JWTPayload } from 'jose';
import { Agent, request as ask } from 'undici';
import { ProofDesk } from './dpop-check.ts';

/** What the tool trusts and demands. */
export interface DemoToolOptions {
  /** 0, the default, picks a free one. */
  readonly port?: number;
  readonly issuer: string;
  /** One member of the token's `aud` has to be this. */
  readonly audience: string;
  /** By default the issuer's `/jwks`. */
  readonly jwksUri?: string;
  /** The origin that clients see, and `htu` has to name; by default the tool's own. */
  readonly origin?: string;
  /** Proofs must carry a nonce of the tool (RFC 9449 9). */
  readonly demandNonce?: boolean;
  /** Milliseconds since the epoch. */
  readonly clock?: () => number;
}

/** One request that reached the tool. The token is named by the first 16 hex digits of its SHA-256, never by its text. */
export interface ToolRequest {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly method: string;
  /** Without query. */
  readonly path: string;
  readonly scheme: 'DPoP' | 'Bearer' | 'none';
  readonly tokenId?: string;
  readonly status: number;
  /** Why it was refused. */
  readonly reason?: string;
}

/** A running tool. */
export interface DemoTool {
  /** Where it listens. */
  readonly url: string;
  /** What `htu` has to name. */
  readonly origin: string;
  /** Every request that arrived, oldest first. */
  readonly requests: readonly ToolRequest[];
  /** Makes the nonce that clients hold the one before; after the second call it is refused. */
  renewNonce(): void;
  close(): Promise<void>;
}

/** What the checks said of one request. */
interface Verdict {
  readonly status: number;
  readonly scheme: ToolRequest['scheme'];
  readonly tokenId?: string;
  readonly claims?: JWTPayload;
  readonly error?: string;
  readonly reason?: string;
}

/**
 * Opens a resource server on 127.0.0.1 that takes access tokens of one issuer for one audience: a token that is bound to a key as
 * `DPoP` with a proof, any other as `Bearer`. It answers every path with the claims that it saw. It checks tokens offline.
 */
export async function openDemoTool(options: DemoToolOptions): Promise<DemoTool> {
  const now = options.clock ?? Date.now;
  const requests: ToolRequest[] = [];
  const proofs = new ProofDesk(() => now() / 1000, options.demandNonce ?? false);
  const direct = new Agent();
  const keysUrl = new URL(options.jwksUri ?? `${options.issuer}/jwks`);
  const keys = createRemoteJWKSet(keysUrl, { [customFetch]: fetchOver(direct) });
  const server = createServer();
  server.listen(options.port ?? 0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = address === null || typeof address === 'string' ? 0 : address.port;
  const url = `http://127.0.0.1:${port}`;
  const origin = options.origin ?? url;
  // A token that fails for any reason, an unreachable key set included, is no token.
  const verify = async (token: string): Promise<JWTPayload | undefined> => {
    const { issuer, audience } = options;
    const currentDate = new Date(now());
    const checks = {
      issuer,
      audience,
      currentDate,
      algorithms: ['ES256'],
      typ: 'at+jwt',
      requiredClaims: ['exp', 'sub'],
    };
    const verified = await jwtVerify(token, keys, checks).catch(() => undefined);
    return verified?.payload;
  };
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const verdict = await judge(request, { origin, proofs, verify });
    requests.push(line(request, verdict, now()));
    answer(response, verdict, requests.length, proofs.currentNonce());
  };
  server.on('request', (request, response) => {
    serve(request, response).catch(() => response.destroy());
  });
  return {
    url,
    origin,
    requests,
    renewNonce: () => proofs.renewNonce(),
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await Promise.all([closed, direct.destroy()]);
    },
  };
}

/**
 * Fetches keys without a proxy. The global `fetch` takes that of the environment, with NODE_USE_ENV_PROXY also to this machine: in a shell
 * that works in a task the keys were asked for through the sidecar, and every token of the demo was refused.
 */
function fetchOver(dispatcher: Agent): FetchImplementation {
  return async (url, { headers, method, signal }) => {
    const reply = await ask(url, { dispatcher, method, signal, headers: Object.fromEntries(headers) });
    return new Response(await reply.body.text(), { status: reply.statusCode });
  };
}

/** What the checks of one request need. */
interface Checks {
  readonly origin: string;
  readonly proofs: ProofDesk;
  readonly verify: (token: string) => Promise<JWTPayload | undefined>;
}

async function judge(request: IncomingMessage, { origin, proofs, verify }: Checks): Promise<Verdict> {
  // Nothing in a body matters here; unread, it would hold up the connection.
  request.resume();
  const [credential, ...more] = valuesOf(request, 'authorization');
  const parts = /^(DPoP|Bearer) ([A-Za-z0-9._~+/-]+=*)$/i.exec(credential ?? '');
  const token = parts?.[2];
  if (token === undefined || more.length > 0) return { status: 401, scheme: 'none', reason: 'no access token' };
  const scheme = parts?.[1]?.toLowerCase() === 'dpop' ? 'DPoP' : 'Bearer';
  const tokenId = createHash('sha256').update(token).digest('hex').slice(0, 16);
  const refuse = (error: string, reason: string): Verdict => ({ status: 401, scheme, tokenId, error, reason });
  const claims = await verify(token);
  if (claims === undefined) return refuse('invalid_token', 'not a valid token for this tool');
  const jkt = boundKey(claims);
  // A bound token as Bearer would be a token that anybody can use; an unbound one as DPoP proves nothing (RFC 9449 7.2).
  if ((jkt !== undefined) !== (scheme === 'DPoP')) return refuse('invalid_token', 'the scheme does not fit the token');
  if (jkt !== undefined) {
    const [proof, ...others] = valuesOf(request, 'dpop');
    if (proof === undefined || others.length > 0) return refuse('invalid_dpop_proof', 'exactly one proof is needed');
    const proved = { method: request.method ?? '', url: `${origin}${request.url ?? '/'}`, accessToken: token, jkt };
    const refusal = await proofs.check(proof, proved);
    if (refusal !== undefined) return refuse(refusal.error, refusal.reason);
  }
  return { status: 200, scheme, tokenId, claims };
}

/** Every value of a header, counted on the wire: node:http drops a second Authorization and joins a second DPoP. */
function valuesOf(request: IncomingMessage, name: string): readonly string[] {
  return request.rawHeaders.filter((_value, at, all) => at % 2 === 1 && all[at - 1]?.toLowerCase() === name);
}

/** `cnf.jkt`; an empty text where the token is bound by something else, which no proof here can fulfil. */
function boundKey(claims: JWTPayload): string | undefined {
  const cnf = claims['cnf'];
  if (typeof cnf !== 'object' || cnf === null) return undefined;
  return 'jkt' in cnf && typeof cnf.jkt === 'string' ? cnf.jkt : '';
}

function line(request: IncomingMessage, verdict: Verdict, at: number): ToolRequest {
  const { status, scheme, tokenId, reason } = verdict;
  return {
    at,
    method: request.method ?? '',
    path: (request.url ?? '').split('?')[0] ?? '',
    scheme,
    status,
    ...(tokenId === undefined ? {} : { tokenId }),
    ...(reason === undefined ? {} : { reason }),
  };
}

function answer(response: ServerResponse, verdict: Verdict, count: number, nonce: string | undefined): void {
  response.setHeader('content-type', 'application/json');
  if (nonce !== undefined) response.setHeader('dpop-nonce', nonce);
  const { claims, status, error, reason } = verdict;
  if (claims === undefined) {
    const scheme = verdict.scheme === 'Bearer' ? 'Bearer' : 'DPoP';
    const details = [
      ...(error === undefined ? [] : [`error="${error}"`]),
      ...(scheme === 'DPoP' ? ['algs="ES256 EdDSA"'] : []),
    ];
    response.writeHead(status, {
      'www-authenticate': [scheme, details.join(', ')].filter((part) => part !== '').join(' '),
    });
    response.end(JSON.stringify({ error: error ?? 'token_missing', reason, requests: count }));
    return;
  }
  const { sub, aud, act, scope, client_id } = claims;
  response.writeHead(status);
  response.end(JSON.stringify({ sub, act, aud, scope, client_id, requests: count }));
}
