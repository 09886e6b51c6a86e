import { inertIssuer, sidecarName } from '../tasks/handle-text.ts';
import { parseAuthority } from './authority.ts';
import type { Arrival, Door } from './call.ts';
import { isOwn } from './target.ts';

/** Whether a CONNECT leads to us: clients that tunnel plain HTTP too reach us by it. */
export function leadsToUs({ host, port }: { readonly host: string; readonly port?: number | undefined }): boolean {
  return host === sidecarName && port === 80;
}

/** Public keys of the inert tokens (RFC 7517 5). */
export interface InertKeys {
  readonly keys: readonly { readonly alg: string }[];
}

const wellKnown = '/.well-known/';
const ownDocument = /^\/\.well-known\/(?<name>jwks\.json|openid-configuration|oauth-authorization-server)$/;

/**
 * Serves the keys of the inert tokens at `waybill.local`, for agents that insist on verifying what they are given, and where these keys
 * are, for those that know an issuer by its name alone. Keys are public; nothing else is served here. False for any other request, which
 * then goes its way.
 */
export function serveOwnDocument(arrival: Arrival, jwks: InertKeys | undefined): boolean {
  const { request, response } = arrival;
  if (jwks === undefined || request.method !== 'GET' || request.url?.includes(wellKnown) !== true) return false;
  const asked = readOwnRequest(arrival);
  const name = ownDocument.exec(asked?.path ?? '')?.groups?.['name'];
  if (asked === undefined || name === undefined) return false;
  const isKeys = name === 'jwks.json';
  const body = JSON.stringify(isKeys ? jwks : describeIssuer(asked.authority, jwks));
  response.writeHead(200, {
    'Content-Type': isKeys ? 'application/jwk-set+json' : 'application/json',
    'Content-Length': Buffer.byteLength(body),
  });
  response.end(body);
  return true;
}

/**
 * What OpenID Connect Discovery 3 and RFC 8414 2 ask of an issuer that signs and does nothing else, as Kubernetes writes it.
 * @param authority By what name we were asked: a program without a proxy cannot reach us by another.
 */
function describeIssuer(authority: string, { keys }: InertKeys): object {
  return {
    issuer: inertIssuer,
    jwks_uri: `http://${authority}${wellKnown}jwks.json`,
    response_types_supported: ['id_token'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: keys.map(({ alg }) => alg),
  };
}

const ownAction = /^\/v1\/tasks(?:\/self\/(?<action>complete|fail))?$/;

/** What a request asks of the sidecar itself: to open a task, or to end its own. Undefined for any other request, which then goes its way. */
export function readOwnAction(arrival: Arrival): 'open' | 'complete' | 'fail' | undefined {
  const match = arrival.request.method === 'POST' ? ownAction.exec(readOwnRequest(arrival)?.path ?? '') : null;
  if (match === null) return undefined;
  const action = match.groups?.['action'];
  return action === 'complete' || action === 'fail' ? action : 'open';
}

const ownUrl = /^(?:http:\/\/(?<authority>[^/?#@\\]+))?(?<path>\/.*)$/;

/**
 * A request that names us in all its places: by which name, and the rest of its URL. Undefined for one that names anybody else anywhere
 * (W2), which is refused on its way, and for one with an `Origin`, which a page in a browser cannot hide.
 */
function readOwnRequest({ request, door }: Arrival): { authority: string; path: string } | undefined {
  const { authority, path } = ownUrl.exec(request.url ?? '')?.groups ?? {};
  if (path === undefined || request.headers.origin !== undefined) return undefined;
  const [named = '', ...more] = request.headersDistinct['host'] ?? [];
  const host = parseAuthority(named);
  const target = parseAuthority(authority ?? named);
  if (host === undefined || target === undefined || more.length > 0) return undefined;
  if (host.host !== target.host || (host.port ?? 80) !== (target.port ?? 80)) return undefined;
  return isNameOfUs({ host: host.host, port: host.port ?? 80 }, door) ? { authority: named, path } : undefined;
}

function isNameOfUs(named: { readonly host: string; readonly port: number }, door: Door): boolean {
  if (door.kind === 'proxy') return leadsToUs(named) || isOwn(named, door.own);
  return door.kind === 'tunnel' && door.tunnel.origin.text === `http://${sidecarName}` && leadsToUs(named);
}
