import { join } from 'node:path';
import { stringify } from 'yaml';
import type { ServiceResource } from '../../embedded/grant-target.ts';
import type { ServiceClient } from '../../embedded/service-client.ts';
import { demoTools, filesOf, names, originOf } from './config.ts';

/** Everybody behind a way in, in the order of the chain; the tickets are the tool that a thief tries as well. */
export const hopNames = ['planner', 'worker', 'crm', 'tickets'] as const;
export type HopName = (typeof hopNames)[number];

/** SPIFFE ID of a hop. */
export function idOf(hop: HopName): string {
  return `spiffe://${names.trustDomain}/${hop}`;
}

/** What tokens for a hop name as their audience, and links of the chain too. */
export function resourceOf(hop: HopName): string {
  return isTool(hop) ? originOf(hop) : `https://${hop}.example.org`;
}

const { crm } = demoTools;
/** What Alice's client may ask for; every hop hands on less. */
export const userScopes = ['plan', 'reconcile', crm.scope];

/** The two agents as clients of the token service: each may exchange what was issued for it, and for less than it may do itself. */
export const chainClients: readonly ServiceClient[] = [
  { clientId: 'planner', auth: 'spiffe_jwt', spiffeId: idOf('planner'), scopes: ['reconcile', crm.scope] },
  { clientId: 'worker', auth: 'spiffe_jwt', spiffeId: idOf('worker'), scopes: [crm.scope] },
];

/** A token for an agent carries what the agent needs further on, since an exchange only narrows. */
export const chainResources: readonly ServiceResource[] = [
  { resource: resourceOf('planner'), client: 'planner', scopes: userScopes },
  { resource: resourceOf('worker'), client: 'worker', scopes: ['reconcile', crm.scope] },
];

/** What the configuration of a hop has to know of this run. */
export interface HopPlaces {
  /** Folder of this hop's files. */
  readonly folder: string;
  readonly issuer: string;
  readonly workloadApiSocket: string;
  /** What callers know it by. */
  readonly origin: string;
  /** Port of the program behind it. */
  readonly program: number;
  /** Port of what an agent calls next; a tool calls nobody. */
  readonly next?: number;
}

/** The configuration of the sidecar before an agent or a tool of the chain, as YAML text. */
export function hopConfig(hop: HopName, places: HopPlaces): string {
  const { folder, issuer, workloadApiSocket, next } = places;
  const files = filesOf(folder);
  const settings = {
    version: 1,
    agent: { name: hop, owner: 'you@example.org', purpose: names.purpose, environment: 'demo' },
    identity: { workload_api: `unix://${workloadApiSocket}` },
    trust: { domains: { [names.trustDomain]: 'workload_api' }, issuers: [{ issuer, typ: ['at+jwt'] }] },
    ...(next === undefined ? {} : wayOut(hop, issuer, next)),
    inbound: wayIn(hop, places),
    ca: { dir: join(folder, 'ca'), publish: files.trust },
    operator: { socket: files.operatorSocket },
    listen: { outbound: '127.0.0.1:0', inbound: '127.0.0.1:0', metrics: '127.0.0.1:0', health: '127.0.0.1:0' },
    record: { file: files.record },
  };
  return stringify(settings, { lineWidth: 0 });
}

/** Who may come in, by what, and what the program behind gets to see. Plain http is for loopback: the demo has no other network. */
function wayIn(hop: HopName, { issuer, origin, program }: HopPlaces): object {
  const before = { planner: undefined, worker: idOf('planner'), crm: idOf('worker'), tickets: idOf('worker') }[hop];
  return {
    origin,
    resource: resourceOf(hop),
    accept: [{ issuer, proof: 'dpop' }],
    // A user's own client has no SPIFFE ID and no chain: the planner writes the first link.
    ...(before === undefined ? {} : { callers: [before], chain: { require: true } }),
    ...(isTool(hop) ? { program: 'tool', present: 'original' } : { program: 'agent', present: 'inert-jwt' }),
    forward_to: `http://127.0.0.1:${program}`,
  };
}

/** What an agent may call, with which token, and what it hands on: one hop less than it was given. */
function wayOut(hop: HopName, issuer: string, port: number): object {
  const next = hop === 'planner' ? 'worker' : 'crm';
  const scopes = hop === 'planner' ? ['reconcile', crm.scope] : [crm.scope];
  const further = { resources: [resourceOf('worker'), resourceOf('crm')], risk: 'read', hops: 1 };
  return {
    token_services: {
      corp: {
        issuer,
        client_auth: 'spiffe_jwt',
        actor: 'jwt-svid',
        expect: { sub: 'same', act: 'self' },
        timeout: '10s',
      },
    },
    tools: {
      [next]: {
        match: { host: '127.0.0.1', port, methods: ['GET'] },
        token: { from: 'corp', resource: resourceOf(next), scopes, proof: 'dpop' },
        risk: 'read',
        addresses: 'loopback',
        ...(next === 'worker' ? { delegate: further } : {}),
      },
    },
    rules: [{ name: 'reading-for-reconciling', effect: 'allow', when: `task.purpose == "${names.purpose}"` }],
    purposes: { [names.purpose]: { tools: [next], risk: 'read' } },
  };
}

function isTool(hop: HopName): hop is 'crm' | 'tickets' {
  return hop === 'crm' || hop === 'tickets';
}
