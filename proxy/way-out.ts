import type { IpPort } from '../config/addresses.ts';
import type { LoadedSettings } from '../config/load.ts';
import type { Paths } from '../config/paths.ts';
import type { Settings } from '../config/settings.ts';
import { ToolNonces } from './bind/nonces.ts';
import type { Purse } from './exchange/credential.ts';
import type { Endpoints } from './exchange/endpoints.ts';
import { openTokenDesk, type TokenDesk } from './exchange/token-desk.ts';
import { CookieJars } from './forward/cookies/cookie-jars.ts';
import { SecretIndex } from './forward/screen/secret-index.ts';
import type { ToolTls } from './forward/tool-tls.ts';
import { Upstreams } from './forward/upstream.ts';
import { hearAgent, type OwnServices } from './hear-agent.ts';
import { formatAddress } from './intercept/authority.ts';
import { openListener, type Listener } from './intercept/listener.ts';
import { openPodCa, type PodCa } from './intercept/pod-ca.ts';
import type { Tool, ToolCatalogue } from './intercept/tool-catalogue.ts';
import { openEgressRooms, type OpenEgressRooms } from './open-egress.ts';
import { authoritiesOf, openEndpointsOf } from './open-endpoints.ts';
import { knownName, openIdentity, openToolTls, signingIdentity, svidCertificates } from './open-identity.ts';
import type { OpenRecord } from './open-record.ts';
import { openTasks, type OpenTasks } from './open-tasks.ts';
import type { ProcessLog } from './process-log.ts';
import { EgressGuard } from './route/egress-guard.ts';
import { isOwnAddress } from './route/own-address.ts';
import { exceeds } from './tasks/purposes.ts';
import type { Task } from './tasks/task.ts';
import type { Secret } from './trust/secret.ts';
import type { Workload } from './workload.ts';
import type { World } from './world.ts';

/** The way out, opened and not yet listening. */
export interface WayOut extends OpenTasks {
  readonly desk: TokenDesk;
  /** The configuration that is in force. */
  readonly config: LoadedSettings;
  readonly purse: Purse;
  readonly tools: ToolCatalogue['tools'];
  /** When the X.509-SVID came that is in use. */
  readonly svidRotatedAtMs: () => number | undefined;
  readonly endpoints: Endpoints;
  readonly workload: Workload;
  /** The SPIFFE ID that rules decide by. */
  readonly knownAs: () => string;
  readonly world: World;
  readonly upstreams: Upstreams;
  /** Counts and logs a fault. */
  readonly onFault: (callId: string, error: unknown) => void;
  readonly nextCallId: () => string;
  /** Whether a token is still active by its service's own word. */
  readonly isActive: (service: string, token: Secret) => Promise<boolean>;
  isListening(): boolean;
  /** `host:port` of the listener as an agent on this machine calls it. */
  agentAddress(): string;
  /** Starts to listen. @param ports of our other listeners, which the agent must not reach through us (W10). */
  listen(at: IpPort, ports: readonly number[], services: OwnServices): Promise<string>;
  /** Makes everything for another configuration. What it returns puts it in force: calls under way go on with what they began with. */
  prepare(config: LoadedSettings): () => void;
  /** Ends listening, tasks, tokens and connections; each waits at most `graceMs`. */
  close(graceMs: number): Promise<void>;
}

/** Opens the rooms of the way out and wires them to each other. It waits for the identity and for the keys of our authority at once. */
export async function openWayOut(
  config: LoadedSettings,
  paths: Paths,
  world: World,
  record: OpenRecord,
  log: ProcessLog,
): Promise<WayOut> {
  const own = new Set<number>();
  const guard = new EgressGuard(world, (address, port) => own.has(port) && isOwnAddress(address));
  const endpoints = openEndpointsOf(config.settings, guard, world, log);
  const opening = [openIdentity(config.settings, guard, world, record, log), openPodCa(paths, world.now)] as const;
  const [identity, podCa] = await Promise.all(opening);
  const { workload } = identity;
  const x509Svids = svidCertificates(workload);
  const desk = openTokenDesk({
    services: config.settings.token_services,
    world,
    call: endpoints.call,
    vouchedBy: endpoints.vouchedBy,
    jwtSvids: workload,
    x509Svids,
    clusterTokens: workload,
    trail: record.trail,
    onServiceError: (service, error, detail) =>
      log.warn({ service, error, detail }, 'a token service refuses what it is asked for'),
    onDeadGrant: (txn) => endWithGrant(tasks, txn),
  });
  const { tasks, cutOffs } = openTasks(config, paths, world, record, desk, () => identity.names());
  const toolTls = openToolTls(config, workload, x509Svids, world, log);
  const lasting = {
    world,
    record,
    log,
    guard,
    desk,
    tasks,
    cutOffs,
    workload,
    x509Svids,
    pseudonym: `waybill-${world.random(6).toString('hex')}`,
    upstreams: new Upstreams(world, toolTls),
    nonces: new ToolNonces(),
    secrets: new SecretIndex(tasks.handles.prefix, tasks.marks.prefix),
    cookies: new CookieJars(world),
    formerTools: new WeakSet<Tool>(),
    knownAs: knownName(workload),
  };
  const rooms = openEgressRooms(config, lasting, undefined);
  const parts = { ...lasting, toolTls, endpoints, svidRotatedAtMs: identity.rotatedAtMs, own, rooms };
  identity.onChange((spiffeId) => {
    // Whoever took the identity away wants nobody to act by it any more, and not only when the next token is due.
    desk.dropIdentity();
    // Rules were decided per tool with the identity of then; a new one decides anew.
    if (spiffeId !== '') parts.rooms.decideAs(spiffeId);
  });
  identity.onReplaced(() => desk.retireBound());
  record.late.tasksOpen = () => tasks.openCount;
  record.late.signer = () => signingIdentity(workload);
  record.late.svidLife = () => workload.svidLife();
  record.late.credentialExpiries = () => firstExpiries(desk);
  return finish(parts, podCa);
}

interface Parts extends OpenTasks {
  readonly world: World;
  readonly desk: TokenDesk;
  readonly endpoints: Endpoints;
  readonly workload: Workload;
  readonly upstreams: Upstreams;
  readonly toolTls: ToolTls;
  readonly formerTools: WeakSet<Tool>;
  readonly knownAs: () => string;
  readonly svidRotatedAtMs: WayOut['svidRotatedAtMs'];
  /** Ports of our own listeners. */
  readonly own: Set<number>;
  /** Those of the configuration that is in force. */
  rooms: OpenEgressRooms;
}

function finish(parts: Parts, ca: PodCa): WayOut {
  const { tasks, cutOffs, endpoints, workload, world, desk, upstreams, own } = parts;
  let listener: Listener | undefined;
  return {
    tasks,
    cutOffs,
    desk,
    get config() {
      return parts.rooms.config;
    },
    get purse() {
      return parts.rooms.purse;
    },
    get tools() {
      return parts.rooms.reader.catalogue.tools;
    },
    svidRotatedAtMs: parts.svidRotatedAtMs,
    endpoints,
    workload,
    knownAs: parts.knownAs,
    world,
    upstreams,
    onFault: (id, error) => parts.rooms.onFault(id, error),
    nextCallId: parts.rooms.nextCallId,
    isActive: (service, token) => desk.isActive(service, token),
    isListening: () => listener !== undefined,
    agentAddress: () => {
      const { address = '127.0.0.1', port = 0 } = listener ?? {};
      return formatAddress(/^(?:0\.0\.0\.0|::)$/.test(address) ? '127.0.0.1' : address, port);
    },
    async listen(at, ports, services) {
      const hearers = hearAgent(() => parts.rooms, services);
      listener = await openListener({ host: at.address, port: at.port }, () => parts.rooms.reader, ca, hearers);
      for (const port of [...ports, listener.port]) own.add(port);
      return formatAddress(listener.address, listener.port);
    },
    prepare: (config) => prepareRooms(config, parts),
    async close(graceMs) {
      await listener?.close(graceMs);
      tasks.endAll('shutdown');
      await desk.close(graceMs);
      await Promise.all([upstreams.close(), endpoints.close()]);
      workload.close();
    },
  };
}

/** Nothing of what the returned function does may throw: half a configuration would be in force. */
function prepareRooms(config: LoadedSettings, parts: Parts): () => void {
  const { settings } = config;
  const before = parts.rooms;
  const next = before.for(config);
  return () => {
    parts.endpoints.adopt(authoritiesOf(settings));
    const services = parts.desk.adopt(settings.token_services);
    parts.rooms = next;
    const kept = new Set(next.reader.catalogue.tools);
    const open = parts.tasks.list().filter(({ state }) => state === 'open');
    for (const tool of before.reader.catalogue.tools) {
      // A session that a credential opened is as good as the credential.
      if (!kept.has(tool) || isServedBy(services, tool)) for (const task of open) task.forgetErrand(tool.name);
      if (kept.has(tool)) continue;
      parts.formerTools.add(tool);
      // The way of its credential is another now, or it has none any more.
      if (tool.credentialed) parts.desk.dropTool(tool.name, 'reconfigured');
      parts.upstreams.forget(tool);
    }
    for (const tool of kept) if (parts.toolTls.forgetOldRoots(tool)) parts.upstreams.forget(tool);
    endOutdatedTasks(settings, parts.tasks, before.ladder.standing, next.ladder.standing);
  };
}

function isServedBy(services: ReadonlySet<string>, { settings: { token } }: Tool): boolean {
  return token !== undefined && [...token.from, token.granted_by ?? ''].some((name) => services.has(name));
}

/** The end of the task and the answer of the service may cross. Who waits for the agent is told, and not cut off. */
function endWithGrant(tasks: OpenTasks['tasks'], txn: string): void {
  if (tasks.find(txn)?.state === 'open') tasks.end(txn, 'revoked', 'grant_dead', 'token_service', true);
}

/** A task whose context is gone ends: its purpose allows less now, its user's issuer is not trusted, or it is not the standing one any more. */
function endOutdatedTasks(
  settings: Settings,
  tasks: OpenTasks['tasks'],
  formerStanding: Task | undefined,
  standing: Task | undefined,
): void {
  const trusted = new Set(settings.trust.issuers.map(({ issuer }) => issuer));
  for (const task of tasks.list()) {
    if (task.state !== 'open') continue;
    const isForeign = task.grant !== undefined && !trusted.has(task.grant.iss);
    const isFormer = task === formerStanding && task !== standing;
    if (isFormer || isForeign || (!task.standing && exceeds(task, settings)))
      tasks.end(task.txn, 'revoked', 'config_changed', 'config');
  }
}

function firstExpiries(desk: TokenDesk): { tool: string; expiresAtMs: number }[] {
  const first = new Map<string, number>();
  for (const { tool, token } of desk.held()) first.set(tool, Math.min(first.get(tool) ?? Infinity, token.expiresAtMs));
  return [...first].map(([tool, expiresAtMs]) => ({ tool, expiresAtMs }));
}
