import { type DemoTool, openDemoTool } from '../../proxy/embedded/demo-tool.ts';
import type { KeycloakStage } from './keycloak.ts';
import { startSidecar, type SidecarProcess } from './sidecar-process.ts';

/** An agent whose sidecar knows one realm of a Keycloak. */
export interface KeycloakAgent {
  readonly keycloak: KeycloakStage;
  readonly realm: string;
  /** Name of the workload. Its SPIFFE ID is its client id at the realm, and the audience of tokens for it. */
  readonly name: string;
  readonly tools: Readonly<Record<string, unknown>>;
  /** Further or other members of the token service `corp`. */
  readonly corp?: Readonly<Record<string, unknown>>;
  /** Further sections of the configuration. */
  readonly sections?: Readonly<Record<string, unknown>>;
}

/** Starts the sidecar. It has no secret: it authenticates by `spiffe_jwt`. */
export async function startAgent(agent: KeycloakAgent): Promise<SidecarProcess> {
  const { keycloak, realm, name, tools, corp = {}, sections = {} } = agent;
  const issuer = keycloak.issuer(realm);
  const all = {
    agent: { name, purpose: 'answer tickets' },
    identity: { workload_api: await keycloak.workload(name) },
    trust: {
      issuers: [{ issuer, audience: `spiffe://${keycloak.trustDomain}/${name}` }],
      domains: { [keycloak.trustDomain]: 'workload_api' },
    },
    token_services: {
      // A busy machine, and a Java that is not warm yet.
      corp: {
        issuer,
        profile: 'keycloak',
        client_auth: 'spiffe_jwt',
        timeout: '20s',
        expect: { typ: ['at+jwt'] },
        ...corp,
      },
    },
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

/** The tool in the configuration: agents call `http://<name>.test`. */
export function ticketsTool(tool: DemoTool, token: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return {
    match: { host: 'tickets.test' },
    dial: new URL(tool.url).host,
    token: { from: 'corp', audience: ['tickets-api'], scopes: ['tickets.read'], proof: 'dpop', ...token },
  };
}
