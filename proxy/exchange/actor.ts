import type { Actor } from '../trust/act-claim.ts';
import { Secret } from '../trust/secret.ts';
import { InvalidToken, readStrictJws } from '../trust/strict-jws.ts';
import type { World } from '../world.ts';
import { fetchSvid, type JwtSvidSource } from './client-auth/spiffe-jwt.ts';
import { currentSvid, type X509SvidSource } from './client-auth/spiffe-x509.ts';
import type { Deadline } from './deadline.ts';
import type { ServiceEndpoints } from './discovery.ts';
import { clientCredentialsGrant } from './issuers/client-credentials.ts';
import { accessTokenType, type ActorToken, jwtTokenType } from './issuers/rfc8693.ts';
import { Rejection } from './rejection.ts';
import type { ServiceClient } from './service-client.ts';
import type { ServiceSettings } from './service-settings.ts';

/** We as an actor towards one service: what is sent as `actor_token`, and the names under which we may appear in `act`. */
export interface OwnActor {
  readonly token: ActorToken | undefined;
  readonly names: readonly Actor[];
}

/** Port: how we appear as actor. One of the three below, chosen by `actor` of the service. */
export type FindActor = (endpoints: ServiceEndpoints, deadline: Deadline) => Promise<OwnActor>;

/** What the three ways of naming ourselves need. */
export interface ActorOptions {
  readonly settings: ServiceSettings;
  readonly client: ServiceClient;
  readonly jwtSvids: JwtSvidSource;
  readonly x509Svids: X509SvidSource;
  readonly world: World;
}

/** Chooses how we appear as actor at a service. */
export function openActor(options: ActorOptions): FindActor {
  if (options.settings.actor === 'jwt-svid') return svidActor(options);
  if (options.settings.actor === 'client_credentials') return clientActor(options);
  return noActor(options);
}

/** A JWT-SVID whose only audience is this service: no other service that sees it can present it here, nor this one elsewhere. */
function svidActor({ settings, jwtSvids }: ActorOptions): FindActor {
  return async (_endpoints, deadline) => {
    const svid = await fetchSvid(jwtSvids, settings.issuer, deadline);
    const token = { token: new Secret(svid.token()), tokenType: jwtTokenType };
    return { token, names: [{ sub: svid.spiffeId }] };
  };
}

/** Nothing is sent; a service may still name the authenticated client as actor, so its names are ours. */
function noActor({ settings, jwtSvids, x509Svids }: ActorOptions): FindActor {
  const clientNames = settings.client_id === undefined ? [] : [{ sub: settings.client_id, iss: settings.issuer }];
  if (settings.client_auth === 'spiffe_x509') {
    return async () => ({ token: undefined, names: [{ sub: currentSvid(x509Svids).spiffeId }] });
  }
  if (settings.client_auth !== 'spiffe_jwt') return async () => ({ token: undefined, names: clientNames });
  return async (_endpoints, deadline) => {
    const svid = await fetchSvid(jwtSvids, settings.issuer, deadline);
    return { token: undefined, names: [{ sub: svid.spiffeId }, ...clientNames] };
  };
}

/** Our own token is good for other exchanges too; a revoked one is not noticed for at most this long. */
const keepOwnTokenMs = 60_000;

/** A token of our own from the same service. It never leaves for anywhere else, so tasks may share it. */
function clientActor({ settings, client, x509Svids, world }: ActorOptions): FindActor {
  let kept:
    | { readonly actor: OwnActor; readonly sinceMs: number; readonly untilMs: number; readonly by: string | undefined }
    | undefined;
  return async (endpoints, deadline) => {
    // Under another identity it would name somebody that we are no longer.
    const by = x509Svids.certificate()?.spiffeId;
    const now = world.now();
    // Before it was asked for, the clock was ahead, and it would be kept for as long.
    if (kept !== undefined && kept.sinceMs <= now && now < kept.untilMs && kept.by === by) return kept.actor;
    // Without audience and scope: the service knows best what its own exchange wants of an actor token.
    const form = new URLSearchParams();
    const { token, json } = await client.requestToken(clientCredentialsGrant, form, endpoints, {}, deadline);
    if (token === undefined || String(json['token_type']).toLowerCase() !== 'bearer') throw new Rejection('token_type');
    const name = readName(token.reveal()) ?? { sub: settings.client_id ?? '', iss: settings.issuer };
    const actor = { token: { token, tokenType: accessTokenType }, names: [name] };
    // A fifth of its life is left to the exchange that it is used in.
    const lifeSeconds = typeof json['expires_in'] === 'number' ? json['expires_in'] : 0;
    const sinceMs = world.now();
    kept = { actor, sinceMs, untilMs: sinceMs + Math.min(keepOwnTokenMs, lifeSeconds * 800), by };
    return actor;
  };
}

/** Whom the service calls us, read from its own token to us; an opaque one does not say. */
function readName(text: string): Actor | undefined {
  try {
    const { sub, iss } = readStrictJws(text).payload;
    if (typeof sub !== 'string') return undefined;
    return typeof iss === 'string' ? { sub, iss } : { sub };
  } catch (error) {
    if (error instanceof InvalidToken) return undefined;
    throw error;
  }
}

/** In a grant for ourselves there is no actor beside the subject. */
export const nobody: OwnActor = { token: undefined, names: [] };
