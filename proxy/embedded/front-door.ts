import { IncomingMessage, type ServerResponse } from 'node:http';
import type { AccessTokens } from './access-token.ts';
import type { CallLog, Endpoint, ServiceCall } from './call-log.ts';
import { checkJwtSvid, type TrustDomain } from './jwt-svid-check.ts';
import { endpointPaths } from './oauth-provider.ts';
import type { ClientTable } from './service-client.ts';
import type { TokenLedger } from './token-ledger.ts';

const spiffeAssertion = 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe';
/** RFC 7523 2.2. */
const bearerAssertion = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
const maxFormBytes = 64 * 1024;

/** What stands before the provider, and the provider itself. */
export interface FrontDoorParts {
  readonly issuer: string;
  readonly tokens: AccessTokens;
  readonly ledger: TokenLedger;
  readonly clients: ClientTable;
  readonly spiffe: TrustDomain | undefined;
  readonly log: CallLog;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly provider: (request: IncomingMessage, response: ServerResponse) => Promise<void>;
}

/** A request that is answered here: HTTP status, OAuth error code, and as message a public description. */
class FormRefusal extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, description: string) {
    super(description);
    this.status = status;
    this.code = code;
  }
}

/**
 * Takes every request and puts two things into the provider's words that it has none for: a `spiffe_jwt` client (draft
 * spiffe-client-auth) becomes that client with its inner secret, and a JWT to introspect or revoke becomes its reference in the
 * ledger. All else, client authentication and policies included, is the provider's own.
 */
export async function enterFrontDoor(
  parts: FrontDoorParts,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const endpoint = findEndpoint(request.url ?? '/');
  // Endpoints and `htu` are derived from Host: one that names another origin would be let in as that origin.
  if (`http://${request.headers.host}` !== parts.issuer) {
    const refusal = new FormRefusal(421, 'invalid_request', 'this is another origin');
    refuse(parts.log.begin(request, parts.now(), endpoint, undefined), response, refusal);
    return;
  }
  const isForm =
    request.headers['content-type']?.toLowerCase().startsWith('application/x-www-form-urlencoded') === true;
  if (request.method !== 'POST' || !isForm || endpoint === 'metadata' || endpoint === 'other') {
    parts.log.begin(request, parts.now(), endpoint, undefined);
    await parts.provider(request, response);
    return;
  }
  const form = await readForm(request).catch(() => undefined);
  const grant = endpoint === 'token' ? (form?.get('grant_type') ?? undefined) : undefined;
  const inner = new IncomingMessage(request.socket);
  const call = parts.log.begin(inner, parts.now(), endpoint, grant);
  try {
    if (form === undefined) throw new FormRefusal(413, 'invalid_request', 'the form is too large or broken off');
    const authorization = await authorizationOf(parts, request, form);
    if (endpoint !== 'token') await nameToken(parts, form);
    refill(inner, request, form, authorization);
  } catch (error) {
    // Anything else is a fault: it must not look like a "no" of the protocol.
    if (!(error instanceof FormRefusal)) throw error;
    refuse(call, response, error);
    return;
  }
  await parts.provider(inner, response);
}

/** By exact path: what the provider would read otherwise it gets untranslated, and finds no token by it. */
function findEndpoint(target: string): Endpoint {
  const path = target.split('?')[0] ?? '';
  if (path === endpointPaths.token) return 'token';
  if (path === endpointPaths.introspection) return 'introspection';
  if (path === endpointPaths.revocation) return 'revocation';
  return path === endpointPaths.jwks || path.startsWith('/.well-known/') ? 'metadata' : 'other';
}

/** The form of a request, undefined where it is too large. The rest stays unread, and the connection is closed. */
async function readForm(request: IncomingMessage): Promise<URLSearchParams | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    const part = Buffer.from(chunk);
    bytes += part.length;
    if (bytes > maxFormBytes) return undefined;
    chunks.push(part);
  }
  return new URLSearchParams(Buffer.concat(chunks).toString('utf8'));
}

/** The `Authorization` that the provider is to see; takes a client assertion out of the form. */
async function authorizationOf(
  parts: FrontDoorParts,
  request: IncomingMessage,
  form: URLSearchParams,
): Promise<string | undefined> {
  const given = request.headers.authorization;
  if (!form.has('client_assertion') && !form.has('client_assertion_type')) {
    // The provider would call this `invalid_request`; RFC 6749 5.2 names it.
    if (given === undefined && !form.has('client_secret')) {
      throw new FormRefusal(401, 'invalid_client', 'no client authentication');
    }
    return given;
  }
  const [assertion, ...others] = form.getAll('client_assertion');
  const [type, ...otherTypes] = form.getAll('client_assertion_type');
  const repeated = others.length > 0 || otherTypes.length > 0 || form.getAll('client_id').length > 1;
  if (repeated || given !== undefined || form.has('client_secret')) {
    throw new FormRefusal(400, 'invalid_request', 'exactly one client authentication is needed');
  }
  // The provider's own: it knows the keys of its clients.
  if (type === bearerAssertion && assertion !== undefined) return undefined;
  if (type !== spiffeAssertion || assertion === undefined || parts.spiffe === undefined) {
    throw new FormRefusal(401, 'invalid_client', 'this kind of client assertion is not accepted');
  }
  const workload = await checkJwtSvid(assertion, parts.spiffe, parts.issuer, parts.now()).catch((error: unknown) => {
    throw new FormRefusal(401, 'invalid_client', error instanceof Error ? error.message : 'the SVID is not valid');
  });
  const found = parts.clients.findByWorkload(workload.spiffeId);
  const claimed = form.get('client_id');
  if (found === undefined || (claimed !== null && claimed !== found.clientId)) {
    throw new FormRefusal(401, 'invalid_client', 'the workload is not this client');
  }
  // The SVID goes no further: it is a bearer token for this service.
  for (const name of ['client_assertion', 'client_assertion_type', 'client_id']) form.delete(name);
  const pair = `${encodeURIComponent(found.clientId)}:${encodeURIComponent(found.secret.reveal())}`;
  return `Basic ${Buffer.from(pair).toString('base64')}`;
}

/** Replaces `token` by its reference; what is no token of ours becomes a reference to nothing. A repeated one stays, to be refused. */
async function nameToken({ tokens, ledger }: FrontDoorParts, form: URLSearchParams): Promise<void> {
  const [text, ...others] = form.getAll('token');
  if (text === undefined || text === '' || others.length > 0) return;
  form.set('token', ledger.referenceOf((await tokens.findId(text)) ?? ''));
}

/** Makes `inner` the same request with another body: the first body has been read, and cannot be read twice. */
function refill(
  inner: IncomingMessage,
  request: IncomingMessage,
  form: URLSearchParams,
  authorization: string | undefined,
): void {
  const body = Buffer.from(form.toString());
  const { authorization: _given, 'transfer-encoding': _framing, ...headers } = request.headers;
  inner.method = request.method ?? 'POST';
  inner.url = request.url ?? '/';
  inner.httpVersion = request.httpVersion;
  inner.headers = {
    ...headers,
    'content-type': 'application/x-www-form-urlencoded',
    'content-length': String(body.length),
    ...(authorization === undefined ? {} : { authorization }),
  };
  // Not complete would mean broken off, and destroying it would close the socket under the answer.
  inner.complete = true;
  inner.push(body);
  inner.push(null);
}

/** Answers in the form of RFC 6749 5.2 and notes it. */
function refuse(call: ServiceCall, response: ServerResponse, { status, code, message }: FormRefusal): void {
  call.status = status;
  call.error = code;
  response.writeHead(status, {
    'content-type': 'application/json',
    'cache-control': 'no-store',
    ...(status === 413 ? { connection: 'close' } : {}),
  });
  response.end(JSON.stringify({ error: code, error_description: message }));
}
