import { sidecarName } from '../tasks/handle-text.ts';
import { parseAuthority } from './authority.ts';
import type { Arrival, Door } from './call.ts';
import { isOwn } from './target.ts';

const jwksPath = '/.well-known/jwks.json';

/** Whether a CONNECT leads to us: clients that tunnel plain HTTP too reach us by it. */
export function leadsToUs({ host, port }: { readonly host: string; readonly port?: number | undefined }): boolean {
  return host === sidecarName && port === 80;
}

/**
 * Serves the keys of the inert tokens at `waybill.local`, for agents that insist on verifying what they are given. Keys are public;
 * nothing else is served here. False for any other request, which then goes its way.
 */
export function serveOwnDocument(arrival: Arrival, jwks: object | undefined): boolean {
  const { request, response, door } = arrival;
  if (jwks === undefined || door.kind !== 'proxy' || request.method !== 'GET') return false;
  const url = request.url ?? '';
  if (url !== `http://${sidecarName}${jwksPath}` && url !== jwksPath) return false;
  const host = parseAuthority(request.headers.host ?? '');
  if (host === undefined || request.headers.origin !== undefined) return false;
  if (host.host !== sidecarName && !isOwn(host, door.own)) return false;
  const body = JSON.stringify(jwks);
  response.writeHead(200, { 'Content-Type': 'application/jwk-set+json', 'Content-Length': Buffer.byteLength(body) });
  response.end(body);
  return true;
}

const ownAction = /^(?:http:\/\/(?<authority>[^/?#@\\]+))?\/v1\/tasks(?:\/self\/(?<action>complete|fail))?$/;

/**
 * What a request asks of the sidecar itself: to open a task, or to end its own. Undefined for any other request, which then goes its way
 * and is refused there: one that does not name us in all its places (W2), and one with an `Origin`, which a page in a browser cannot hide.
 */
export function readOwnAction({ request, door }: Arrival): 'open' | 'complete' | 'fail' | undefined {
  const match = request.method === 'POST' ? ownAction.exec(request.url ?? '') : null;
  if (match === null || request.headers.origin !== undefined) return undefined;
  const [named = '', ...more] = request.headersDistinct['host'] ?? [];
  const host = parseAuthority(named);
  const target = parseAuthority(match.groups?.['authority'] ?? named);
  if (host === undefined || target === undefined || more.length > 0) return undefined;
  if (host.host !== target.host || (host.port ?? 80) !== (target.port ?? 80)) return undefined;
  if (!isNameOfUs({ host: host.host, port: host.port ?? 80 }, door)) return undefined;
  const action = match.groups?.['action'];
  return action === 'complete' || action === 'fail' ? action : 'open';
}

function isNameOfUs(named: { readonly host: string; readonly port: number }, door: Door): boolean {
  if (door.kind === 'proxy') return leadsToUs(named) || isOwn(named, door.own);
  return door.kind === 'tunnel' && door.tunnel.origin.text === `http://${sidecarName}` && leadsToUs(named);
}
