import { parseAuthority } from './authority.ts';
import type { Arrival } from './call.ts';
import { isOwn } from './target.ts';

const jwksPath = '/.well-known/jwks.json';
/** The name by which an agent reaches the sidecar through its proxy setting. It is never looked up, and no tool is mounted under it. */
const ownName = 'waybill.local';

/**
 * Serves the keys of the inert tokens at `waybill.local`, for agents that insist on verifying what they are given. Keys are public;
 * nothing else is served here. False for any other request, which then goes its way.
 */
export function serveOwnDocument(arrival: Arrival, jwks: object | undefined): boolean {
  const { request, response, door } = arrival;
  if (jwks === undefined || door.kind !== 'proxy' || request.method !== 'GET') return false;
  const url = request.url ?? '';
  if (url !== `http://${ownName}${jwksPath}` && url !== jwksPath) return false;
  const host = parseAuthority(request.headers.host ?? '');
  if (host === undefined || request.headers.origin !== undefined) return false;
  if (host.host !== ownName && !isOwn(host, door.own)) return false;
  const body = JSON.stringify(jwks);
  response.writeHead(200, { 'Content-Type': 'application/jwk-set+json', 'Content-Length': Buffer.byteLength(body) });
  response.end(body);
  return true;
}
