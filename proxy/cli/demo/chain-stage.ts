import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Authority } from '../../embedded/authority.ts';
import { openDemoTool, type DemoTool } from '../../embedded/demo-tool.ts';
import { openDemoUser, type DemoUser } from '../../embedded/demo-user.ts';
import type { TokenService } from '../../embedded/token-service.ts';
import { openWorkloadApiServer } from '../../embedded/workload-api.ts';
import { Secret } from '../../trust/secret.ts';
import { agentEnvironment } from '../agent-environment.ts';
import { hopConfig, idOf, resourceOf, userScopes, type HopName, type HopPlaces } from './chain-config.ts';
import { demoTools, filesOf, names } from './config.ts';
import { startAgentServer, startSidecar, type Environment, type SidecarProcess } from './server-process.ts';
import { openWire, type Wire } from './wire.ts';

const minute = 60;

/** One hop of the chain: a sidecar, and the wire that leads to its way in. */
export interface Hop {
  readonly wire: Wire;
  readonly sidecar: SidecarProcess;
  /** `host:port` of the way in itself. */
  readonly inbound: string;
  /** File of its record. */
  readonly record: string;
}

/** User, planner, worker and two tools, each behind a sidecar of its own. */
export interface ChainStage {
  readonly hops: Readonly<Record<HopName, Hop>>;
  readonly tools: Readonly<Record<'crm' | 'tickets', DemoTool>>;
  /** Between the CRM's sidecar and the CRM: what the tool itself gets. */
  readonly crmDoor: Wire;
  /** Planner and worker. */
  readonly agentPids: readonly number[];
  /** Alice's own client, and the token that it got at her sign-in, bound to its key. */
  readonly user: DemoUser;
  readonly userToken: Secret;
}

/** What the rest of the demo has opened already. */
export interface ChainGround {
  readonly folder: string;
  readonly authority: Authority;
  readonly service: TokenService;
  readonly serverEnvironment: Environment;
}

/** Opens the parts of the chain and puts the end of each on `stack`. */
export async function openChainStage(stack: AsyncDisposableStack, ground: ChainGround): Promise<ChainStage> {
  const { service } = ground;
  const openWireHere = async (): Promise<Wire> => {
    const wire = await openWire();
    stack.defer(() => wire.close());
    return wire;
  };
  // Where callers connect to comes first: it stands in the configurations, and the listeners behind take any free port.
  const wires = await byHop(openWireHere);
  const openTool = async (name: 'crm' | 'tickets'): Promise<DemoTool> => {
    const { issuer } = service;
    const tool = await openDemoTool({ issuer, audience: resourceOf(name), origin: wires[name].origin });
    stack.defer(() => tool.close());
    return tool;
  };
  const tools = { crm: await openTool('crm'), tickets: await openTool('tickets') };
  const crmDoor = await openWireHere();
  crmDoor.lead(new URL(tools.crm.url).host);
  // They are stopped at once, since each waits a little for its calls and its revocations.
  const processes: { stop(): Promise<void> }[] = [];
  stack.defer(async () => void (await Promise.all(processes.map((child) => child.stop()))));
  const agentPids: number[] = [];
  const startAgent = async (proxy: Wire, next: string): Promise<number> => {
    const own = agentEnvironment({ proxy: proxy.origin, trustFolder: undefined });
    const agent = await startAgentServer(next, { ...ground.serverEnvironment, ...own });
    processes.push(agent);
    agentPids.push(agent.pid);
    return agent.port;
  };
  const hops = await byHop(async (name): Promise<Hop> => {
    const wire = wires[name];
    const proxy = await openWireHere();
    const next = { planner: wires.worker, worker: wires.crm, crm: undefined, tickets: undefined }[name];
    const path = name === 'planner' ? '/invoices' : demoTools.crm.path;
    const program = await {
      planner: () => startAgent(proxy, `${next?.origin}${path}`),
      worker: () => startAgent(proxy, `${next?.origin}${path}`),
      crm: () => crmDoor.port,
      tickets: () => Number(new URL(tools.tickets.url).port),
    }[name]();
    const places = { origin: wire.origin, program, ...(next === undefined ? {} : { next: next.port }) };
    const sidecar = await startHopSidecar(stack, ground, name, places);
    processes.push(sidecar);
    const { inbound = '', outbound } = sidecar.addresses;
    wire.lead(inbound);
    proxy.lead(outbound);
    return { wire, sidecar, inbound, record: filesOf(join(ground.folder, name)).record };
  });
  const user = await openDemoUser();
  return { hops, tools, crmDoor, agentPids, user, userToken: new Secret(await signIn(service, user)) };
}

/** The sidecar of one hop, with a Workload API and a folder of its own. */
async function startHopSidecar(
  stack: AsyncDisposableStack,
  { folder, authority, service, serverEnvironment }: ChainGround,
  name: HopName,
  places: Omit<HopPlaces, 'folder' | 'issuer' | 'workloadApiSocket'>,
): Promise<SidecarProcess> {
  const own = join(folder, name);
  await mkdir(own);
  const workloadApiSocket = join(own, 'id.sock');
  const api = { socketPath: workloadApiSocket, authority, spiffeId: idOf(name) };
  const workloadApi = await openWorkloadApiServer({ ...api, x509TtlSeconds: 60 * minute, jwtTtlSeconds: 5 * minute });
  stack.defer(() => workloadApi.close());
  const { config } = filesOf(own);
  const all = { ...places, folder: own, issuer: service.issuer, workloadApiSocket };
  await writeFile(config, hopConfig(name, all), { mode: 0o600 });
  return startSidecar(config, serverEnvironment);
}

/** Makes one for each hop, all at once. All have settled when it rejects: none goes on behind the back of who cleans up. */
async function byHop<T>(make: (name: HopName) => Promise<T>): Promise<Record<HopName, T>> {
  const { planner, worker, crm, tickets } = {
    planner: make('planner'),
    worker: make('worker'),
    crm: make('crm'),
    tickets: make('tickets'),
  };
  await Promise.allSettled([planner, worker, crm, tickets]);
  return { planner: await planner, worker: await worker, crm: await crm, tickets: await tickets };
}

/** What Alice's sign-in gives her client: good at the planner, with all that the task needs, and bound to the client's key. */
function signIn(service: TokenService, { jkt }: DemoUser): Promise<string> {
  const audience = resourceOf('planner');
  return service.mintSubjectToken({ sub: names.user, audience, scopes: userScopes, ttlSeconds: 15 * minute, jkt });
}
