import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Surroundings } from '../../../config/paths.ts';
import { openAuthority, type Authority } from '../../embedded/authority.ts';
import { openDemoTool, type DemoTool } from '../../embedded/demo-tool.ts';
import { openTokenService, type TokenService } from '../../embedded/token-service.ts';
import { openWorkloadApiServer } from '../../embedded/workload-api.ts';
import { openPodCa } from '../../intercept/pod-ca.ts';
import { Secret } from '../../trust/secret.ts';
import { realWorld } from '../../world.ts';
import { exchangeHttp } from '../http-exchange.ts';
import { parseObject, type JsonObject } from '../json-object.ts';
import { chainClients, chainResources } from './chain-config.ts';
import { openChainStage, type ChainStage } from './chain-stage.ts';
import { demoConfig, demoTools, filesOf, names, originOf, type ToolName } from './config.ts';
import { startSidecar, type SidecarProcess } from './server-process.ts';
import { openToolFront, type ToolFront } from './tool-front.ts';

const minute = 60;
/** How long a token of the demo's service lives, seconds. */
const tokenTtlSeconds = 5 * minute;

/** Everything that the demo runs, on loopback and in one temporary folder. */
export interface Stage {
  readonly folder: string;
  readonly service: TokenService;
  readonly tools: Readonly<Record<ToolName, DemoTool>>;
  readonly front: ToolFront;
  readonly sidecar: SidecarProcess;
  /** What Alice's sign-in gave the orchestrator. */
  readonly subjectToken: Secret;
  /** Environment of child processes before the sidecar's variables: nothing of ours. */
  readonly baseEnvironment: Readonly<Record<string, string | undefined>>;
  /** The second part: agents that call agents, and tools behind sidecars. It opens while the first part is played. */
  readonly chain: Promise<ChainStage>;
  /** What the token service says of a token now (RFC 7662), asked as the CRM may ask. */
  introspect(token: Secret): Promise<JsonObject>;
}

/** Opens the parts and puts the end of each on `stack`, so that what was opened is closed whatever happens. */
export async function openStage(stack: AsyncDisposableStack, { env }: Surroundings): Promise<Stage> {
  const folder = await mkdtemp(join(findRoom(tmpdir()), 'waybill-demo-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const authority = await openAuthority(names.trustDomain);
  const workloadApiSocket = join(folder, 'agent.sock');
  const workloadApi = await openWorkloadApiServer({
    socketPath: workloadApiSocket,
    authority,
    spiffeId: names.agentId,
    x509TtlSeconds: 60 * minute,
    jwtTtlSeconds: 5 * minute,
  });
  stack.defer(() => workloadApi.close());
  // Kept in memory alone: no file of the demo holds a secret but the keys of two CAs.
  const clientSecret = randomBytes(24).toString('base64url');
  const service = await openService(authority, clientSecret);
  stack.defer(() => service.close());
  const tools = await openTools(service.issuer, stack);
  const { now } = realWorld([]);
  const toolsTrust = join(folder, 'tools-trust');
  const toolsCa = await openPodCa({ caDir: join(folder, 'tools-ca'), caPublish: toolsTrust }, now);
  const byHost = new Map(toolNames.map((name) => [demoTools[name].host, tools[name]]));
  const front = await openToolFront(byHost, toolsCa);
  stack.defer(() => front.close());
  const places = { folder, issuer: service.issuer, workloadApiSocket, toolsPort: front.port };
  const configFile = filesOf(folder).config;
  await writeFile(configFile, demoConfig({ ...places, toolsCa: join(toolsTrust, 'ca.pem') }), { mode: 0o600 });
  // The reader's own proxy settings and NODE_OPTIONS would change what is shown.
  const baseEnvironment = { PATH: env['PATH'], HOME: env['HOME'] };
  // The first sidecar compiles for the four of the chain: that is a third of what their start costs.
  const serverEnvironment = { ...baseEnvironment, NODE_COMPILE_CACHE: join(folder, 'compiled') };
  const sidecar = await startSidecar(configFile, serverEnvironment);
  stack.defer(() => sidecar.stop());
  const subjectToken = new Secret(await signIn(service));
  const introspect = (token: Secret) => introspectAt(service.issuer, clientSecret, token);
  const chain = openBeside(stack, (own) => openChainStage(own, { folder, authority, service, serverEnvironment }));
  return { folder, service, tools, front, sidecar, subjectToken, baseEnvironment, introspect, chain };
}

/** The longest path of a socket, bytes: macOS has four less than Linux. */
const longestSocket = process.platform === 'linux' ? 107 : 103;
/** What the longest path of the demo adds to its temporary folder; six letters are those of `mkdtemp`. */
const longestPart = '/waybill-demo-random/tickets/operator.sock';

/** Sockets lie below the temporary folder, and some of them are named in URLs: a part that cannot start would tell of it in its own words. */
function findRoom(temporary: string): string {
  const isPlain = /^\/[\x21-\x7e]*$/.test(temporary) && !/[%?#]/.test(temporary);
  if (isPlain && temporary.length + longestPart.length <= longestSocket) return temporary;
  const most = longestSocket - longestPart.length;
  throw new Error(
    `the temporary folder ${JSON.stringify(temporary)} does not suit the sockets of the demo: set TMPDIR to one of at most ${most} characters, all ASCII, without spaces, %, ? and #, such as /tmp`,
  );
}

/** Begins to open parts that are needed later. Their end waits for their beginning, so that nothing opens behind the back of who closes. */
function openBeside<T>(stack: AsyncDisposableStack, open: (own: AsyncDisposableStack) => Promise<T>): Promise<T> {
  const own = new AsyncDisposableStack();
  const opening = open(own);
  // Told to whoever awaits it; until then, a failure is not unhandled.
  const settled = opening.then(
    () => undefined,
    () => undefined,
  );
  stack.defer(async () => {
    await settled;
    await own.disposeAsync();
  });
  return opening;
}

/** In the order of the configuration. */
const toolNames = ['crm', 'tickets', 'payroll'] as const satisfies readonly ToolName[];
const scopes = toolNames.map((name) => demoTools[name].scope);

/** The token service, and what it knows: workloads as clients, the tools and agents that tokens are for, one user. */
function openService(authority: Authority, clientSecret: string): Promise<TokenService> {
  return openTokenService({
    clients: [
      { clientId: names.agent, auth: 'spiffe_jwt', spiffeId: names.agentId, scopes },
      // The CRM as a client: it may ask about tokens and gets none.
      { clientId: 'crm', auth: 'client_secret_basic', clientSecret, scopes: [], grants: [] },
      ...chainClients,
    ],
    resources: [
      ...toolNames.map((name) => ({ resource: originOf(name), scopes: [demoTools[name].scope] })),
      ...chainResources,
    ],
    subjects: [{ sub: names.user }],
    spiffe: { trustDomain: names.trustDomain, jwks: () => [...authority.bundleJwks()] },
    accessTokenTtlSeconds: tokenTtlSeconds,
  });
}

/** One resource server for each tool; each takes tokens for itself only. */
async function openTools(issuer: string, stack: AsyncDisposableStack): Promise<Record<ToolName, DemoTool>> {
  const open = async (name: ToolName): Promise<DemoTool> => {
    const tool = await openDemoTool({ issuer, audience: originOf(name), origin: originOf(name) });
    stack.defer(() => tool.close());
    return tool;
  };
  return { crm: await open('crm'), tickets: await open('tickets'), payroll: await open('payroll') };
}

/** A token of far more scopes than any one call needs, as users' tokens are. */
function signIn(service: TokenService): Promise<string> {
  return service.mintSubjectToken({ sub: names.user, audience: names.agent, scopes, ttlSeconds: 15 * minute });
}

/** RFC 7662, with the client secret of the CRM. */
async function introspectAt(issuer: string, clientSecret: string, token: Secret): Promise<JsonObject> {
  const { status, text } = await exchangeHttp({
    url: new URL(`${issuer}/token/introspection`),
    method: 'POST',
    headers: {
      'Content-Type': 'application/x-www-form-urlencoded',
      Authorization: `Basic ${Buffer.from(`crm:${clientSecret}`).toString('base64')}`,
    },
    body: new URLSearchParams({ token: token.reveal() }).toString(),
  });
  if (status !== 200) throw new Error(`the token service answers a question about a token with ${status}`);
  return parseObject(text) ?? {};
}
