import { type DemoTool, openDemoTool } from '../../proxy/embedded/demo-tool.ts';
import type { KeycloakStage } from './keycloak.ts';
import { startSidecar, type SidecarProcess } from './sidecar-process.ts';

/** An agent whose sidecar knows one realm of a Keycloak. */
export interface KeycloakAgent {
  readonly realm: string;
  /** Name of the workload. Its SPIFFE ID is its client id at the realm, and the audience of tokens for it. */
  readonly name: string;
  readonly tools: Readonly<Record<string, unknown>>;
  /** Token services beside `corp`: the same realm, with these further or other settings. */
  readonly services?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Further sections of the configuration. */
  readonly sections?: Readonly<Record<string, unknown>>;
}

/** Starts the sidecar. It has no secret: it authenticates by `spiffe_jwt`. */
export async function startAgent(keycloak: KeycloakStage, agent: KeycloakAgent): Promise<SidecarProcess> {
  const { realm, name, tools, services = {}, sections = {} } = agent;
  const issuer = keycloak.issuer(realm);
  // The time is for a Java that is not warm yet, on a busy machine.
  const corp = { issuer, profile: 'keycloak', client_auth: 'spiffe_jwt', timeout: '20s', expect: { typ: ['at+jwt'] } };
  const others = Object.entries(services).map(([other, more]) => [other, { ...corp, ...more }]);
  const all = {
    agent: { name, purpose: 'answer tickets' },
    identity: { workload_api: await keycloak.workload(name) },
    trust: {
      issuers: [{ issuer, audience: keycloak.spiffeId(name) }],
      domains: { [keycloak.trustDomain]: 'workload_api' },
    },
    token_services: { corp, ...Object.fromEntries(others) },
    tools,
    rules: [{ name: 'all', effect: 'allow', when: 'true' }],
    ...sections,
  };
  // JSON is YAML: one section a line.
  return startSidecar(
    Object.entries(all)
      .map(([section, value]) => `${section}: ${JSON.stringify(value)}`)
      .join('\n'),
  );
}

/** The tool `tickets-api`, which checks tokens of a realm and, where they are bound to a key, their proofs. */
export function openTickets(keycloak: KeycloakStage, realm: string): Promise<DemoTool> {
  const issuer = keycloak.issuer(realm);
  return openDemoTool({
    issuer,
    audience: 'tickets-api',
    jwksUri: `${issuer}/protocol/openid-connect/certs`,
    origin: 'http://tickets.test',
  });
}

/** A tool in the configuration that takes tokens for `tickets-api`; agents call `http://<name>.test`. */
export function ticketsTool(
  name: string,
  port: string | number,
  token: Readonly<Record<string, unknown>> = {},
): object {
  return {
    match: { host: `${name}.test` },
    dial: `127.0.0.1:${port}`,
    token: { from: 'corp', audience: ['tickets-api'], scopes: ['tickets.read'], proof: 'dpop', ...token },
  };
}
