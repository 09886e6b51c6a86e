import { realpathSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { JWK } from 'jose';
import { openTokenService, type TokenService } from '../../proxy/embedded/token-service.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { callThrough, exchangeOn, type RawAnswer } from '../stage/raw-call.ts';
import {
  openTask,
  removeFolder,
  startSidecar,
  type SidecarProcess,
  type StagedTask,
} from '../stage/sidecar-process.ts';
import { buildSpire, type SpirePrograms } from '../stage/spire-programs.ts';
import type { FetchedSvid, SpireDomain, SpireEntry } from '../stage/spire.ts';
import { connectTls } from '../stage/tls-caller.ts';

export const domainName = 'example.org';
export const agentId = `spiffe://${domainName}/invoice-bot`;
const origin = 'https://invoice-bot.example.org';

let programs: Promise<SpirePrograms | string> | undefined;

/** The programs, or why they cannot be had; built once for all tests of a file. */
export function findSpire(): Promise<SpirePrograms | string> {
  return (programs ??= buildSpire());
}

/** What tells the sidecar from other workloads of this machine: its user, and the program that it runs. */
const sidecarSelectors = [`unix:uid:${process.getuid?.()}`, `unix:path:${realpathSync(process.execPath)}`];

/** The same for SPIRE's own client, which stands for the workloads that call a way in. */
export function fetcherSelectors(domain: SpireDomain): string[] {
  return [`unix:uid:${process.getuid?.()}`, `unix:path:${realpathSync(domain.fetcherPath)}`];
}

/** The registration of the agent beside the sidecar. */
export function agentEntry(more: Partial<SpireEntry> = {}): SpireEntry {
  return {
    path: '/invoice-bot',
    selectors: sidecarSelectors,
    x509TtlSeconds: 60,
    jwtTtlSeconds: 60,
    hint: 'main',
    ...more,
  };
}

export interface SpireStageOptions {
  /** How long a token is used. */
  readonly useFor?: string;
  /** Trust domains that the way in takes besides the own, with where their keys come from. */
  readonly domains?: Readonly<Record<string, unknown>>;
  readonly callers?: readonly string[];
  /** Further tools, whole. */
  readonly tools?: Readonly<Record<string, unknown>>;
}

/** A sidecar that has its identity from SPIRE, an OAuth service that knows it by its JWT-SVID, a tool, and a program behind the way in. */
export interface SpireStage {
  readonly sidecar: SidecarProcess;
  readonly service: TokenService;
  readonly tool: EchoTool;
  readonly program: EchoTool;
  readonly subjectToken: string;
  readonly task: StagedTask;
  /** Calls the tool in the task: status, or code of the refusal. */
  readonly call: () => Promise<number | string>;
  /** Reads the keys of the domain anew, after a rotation. */
  readonly learnKeys: () => Promise<void>;
  readonly close: () => Promise<void>;
}

/** Starts one beside a SPIRE agent that may not know it yet. The service verifies assertions with the keys of SPIRE's bundle. */
export async function openSpireStage(domain: SpireDomain, options: SpireStageOptions = {}): Promise<SpireStage> {
  let keys = await readJwtKeys(domain);
  const service = await openTokenService({
    clients: [{ clientId: 'invoice-bot', auth: 'spiffe_jwt', spiffeId: agentId, scopes: ['crm.read', 'crm.write'] }],
    resources: [{ resource: 'http://crm.test', audience: 'crm', scopes: ['crm.read'] }],
    spiffe: { trustDomain: domain.trustDomain, jwks: () => keys },
    accessTokenTtlSeconds: 300,
  });
  const tool = await openEchoTool();
  const program = await openEchoTool();
  const sidecar = await startSidecar(configuration(domain, service, tool, program, options));
  const minted = { sub: 'alice', audience: 'invoice-bot', scopes: ['crm.read', 'crm.write'], ttlSeconds: 1200 };
  const subjectToken = await service.mintSubjectToken(minted);
  const task = await openTask(sidecar, { subject_token: subjectToken });
  return {
    sidecar,
    service,
    tool,
    program,
    subjectToken,
    task,
    call: async () => codeOf(await callThrough(sidecar.addresses.outbound, 'http://crm.test/orders', task)),
    learnKeys: async () => {
      keys = await readJwtKeys(domain);
    },
    close: async () => {
      await sidecar.stop();
      await Promise.all([service.close(), tool.close(), program.close()]);
      removeFolder(sidecar.dir);
    },
  };
}

/** What a caller with this SVID gets at the way in, over a connection of its own: status, or code of the refusal. */
export async function knock(stage: SpireStage, svid: FetchedSvid): Promise<number | string> {
  const socket = await connectTls(stage.sidecar.addresses.inbound ?? '', svid);
  try {
    return await ask(socket);
  } finally {
    socket.destroy();
  }
}

/** The same over a connection that is open. */
export async function ask(socket: Socket): Promise<number | string> {
  return codeOf(await exchangeOn(socket, Buffer.from(`GET /orders HTTP/1.1\r\nHost: ${new URL(origin).host}\r\n\r\n`)));
}

/** What an answer says: its status, or the code of a refusal. */
function codeOf({ status, code }: RawAnswer): number | string {
  return code ?? status;
}

function configuration(
  domain: SpireDomain,
  service: TokenService,
  tool: EchoTool,
  program: EchoTool,
  { useFor = '5m', domains = {}, callers = [`spiffe://${domainName}/planner`], tools = {} }: SpireStageOptions,
): string {
  const trusted = { [domain.trustDomain]: 'workload_api', ...domains };
  const sections = {
    identity: { workload_api: domain.workloadApi },
    trust: {
      issuers: [{ issuer: service.issuer, audience: 'invoice-bot' }],
      domains: trusted,
    },
    // A busy machine is slow, and this is not about that.
    token_services: { corp: { issuer: service.issuer, client_auth: 'spiffe_jwt', actor: 'jwt-svid', timeout: '10s' } },
    tools: {
      ...tools,
      crm: {
        match: { host: 'crm.test' },
        dial: `127.0.0.1:${tool.port}`,
        token: { from: 'corp', audience: ['crm'], scopes: ['crm.read'], use_for: useFor },
      },
    },
    rules: [{ name: 'all', effect: 'allow', when: 'true' }],
    inbound: {
      origin,
      accept: Object.keys(trusted).map((name) => ({ trust_domain: name, proof: 'mtls' })),
      callers,
      forward_to: `http://127.0.0.1:${program.port}`,
    },
  };
  // JSON is YAML: one section a line.
  return Object.entries(sections)
    .map(([name, value]) => `${name}: ${JSON.stringify(value)}`)
    .join('\n');
}

/** The keys of the domain's bundle that sign JWT-SVIDs. */
async function readJwtKeys(domain: SpireDomain): Promise<JWK[]> {
  const { keys } = JSON.parse(await domain.bundle('spiffe')) as { keys: JWK[] };
  return keys.filter(({ use }) => use === 'jwt-svid');
}
