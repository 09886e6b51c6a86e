import { join } from 'node:path';
import { stringify } from 'yaml';

/** Names of the demo's world, as they stand in its configuration, its tokens and its text. */
export const names = {
  trustDomain: 'demo.example',
  agent: 'invoice-bot',
  agentId: 'spiffe://demo.example/invoice-bot',
  user: 'alice',
  purpose: 'reconcile invoices',
} as const;

/** The tools of the demo; each has a token of its own. `payroll` is listed and belongs to another purpose. */
export const demoTools = {
  crm: { host: 'crm.example.org', scope: 'crm.read', path: '/api/invoices' },
  tickets: { host: 'tickets.example.org', scope: 'tickets.read', path: '/api/tickets' },
  payroll: { host: 'payroll.example.org', scope: 'payroll.read', path: '/api/salaries' },
} as const;

export type ToolName = keyof typeof demoTools;

/** URL of a tool as the agent calls it. */
export function urlOf(tool: ToolName): string {
  return `https://${demoTools[tool].host}${demoTools[tool].path}`;
}

/** The origin of a tool: the `resource` of its tokens, and what their proofs name. */
export function originOf(tool: ToolName): string {
  return `https://${demoTools[tool].host}`;
}

/** What the configuration has to know of this run. */
export interface DemoPlaces {
  readonly folder: string;
  readonly issuer: string;
  readonly workloadApiSocket: string;
  readonly toolsPort: number;
  /** File with the CA of the tools' certificates. */
  readonly toolsCa: string;
}

/** Files of the sidecar below the folder of the demo. */
export function filesOf(folder: string) {
  return {
    config: join(folder, 'waybill.yaml'),
    operatorSocket: join(folder, 'operator.sock'),
    record: join(folder, 'events.jsonl'),
    trust: join(folder, 'trust'),
  };
}

/** The sidecar's configuration as YAML text: an ordinary one, but for ports and files of this run. */
export function demoConfig({ folder, issuer, workloadApiSocket, toolsPort, toolsCa }: DemoPlaces): string {
  // Everything that a run leaves lies in one folder, which is removed as a whole.
  const files = filesOf(folder);
  const tools = Object.entries(demoTools).map(([name, { host, scope }]): [string, object] => [
    name,
    {
      match: { host, methods: ['GET'] },
      token: { from: 'corp', resource: `https://${host}`, scopes: [scope], use_for: '5m', proof: 'dpop' },
      risk: 'read',
      // The names are of example.org and lead nowhere; the tools of the demo listen on a free port.
      dial: `127.0.0.1:${toolsPort}`,
      tls: { ca: toolsCa },
    },
  ]);
  return stringify(
    {
      version: 1,
      agent: { name: names.agent, owner: 'you@example.org', purpose: names.purpose, environment: 'demo' },
      identity: { workload_api: `unix://${workloadApiSocket}` },
      trust: { issuers: [{ issuer, audience: names.agent, typ: ['at+jwt'] }] },
      token_services: {
        corp: {
          issuer,
          client_auth: 'spiffe_jwt',
          actor: 'jwt-svid',
          verify: 'jwt',
          expect: { sub: 'same', act: 'self' },
          // The service is in the process of the demo, which a busy machine may let wait.
          timeout: '10s',
        },
      },
      tools: Object.fromEntries(tools),
      rules: [
        { name: 'reading-for-reconciling', effect: 'allow', when: `task.purpose == "${names.purpose}"` },
        // Matches nothing here: it shows how a requirement is written.
        { name: 'four-eyes', effect: 'require-approval', when: 'tool.risk in ["payment", "export"]' },
      ],
      purposes: {
        [names.purpose]: { tools: ['crm', 'tickets'], risk: 'read' },
        'pay salaries': { tools: ['payroll'], risk: 'read' },
      },
      ca: { dir: join(folder, 'ca'), publish: files.trust },
      operator: { socket: files.operatorSocket },
      // Port 0: a demo runs beside another one, and beside a sidecar at its usual ports.
      listen: { outbound: '127.0.0.1:0', metrics: '127.0.0.1:0', health: '127.0.0.1:0' },
      record: { file: files.record },
    },
    { lineWidth: 0 },
  );
}
