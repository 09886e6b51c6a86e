import type { IpPort } from '../config/addresses.ts';
import { isSpiffe } from '../config/identity.ts';
import type { LoadedSettings } from '../config/load.ts';
import type { Paths } from '../config/paths.ts';
import { ToolNonces } from './bind/nonces.ts';
import { TaskLinks } from './bind/task-links.ts';
import { compileRulesOrErrors } from './check-rules.ts';
import { Desk } from './decide/permit.ts';
import type { CompiledRules } from './decide/rules.ts';
import { LinkSigner } from './delegation/link-signer.ts';
import type { EgressRooms } from './egress.ts';
import type { X509SvidSource } from './exchange/client-auth/spiffe-x509.ts';
import { openPurse, type Purse } from './exchange/credential.ts';
import { privateAuthorities } from './exchange/endpoint-connections.ts';
import { openEndpoints, type Endpoints } from './exchange/endpoints.ts';
import { openTokenDesk, type TokenDesk } from './exchange/token-desk.ts';
import { CookieJars } from './forward/cookies/cookie-jars.ts';
import { SecretIndex } from './forward/screen/secret-index.ts';
import { Upstreams } from './forward/upstream.ts';
import { hearAgent, type OwnServices } from './hear-agent.ts';
import { formatAddress } from './intercept/authority.ts';
import { headerClassifier } from './intercept/header-names.ts';
import { openListener, type Listener } from './intercept/listener.ts';
import { openPodCa, type PodCa } from './intercept/pod-ca.ts';
import { buildToolCatalogue, type ToolCatalogue } from './intercept/tool-catalogue.ts';
import { openIdentity, openToolTls, signingIdentity, svidCertificates } from './open-identity.ts';
import type { OpenRecord } from './open-record.ts';
import { openServiceChoice } from './open-service-choice.ts';
import { openTasks, type OpenTasks } from './open-tasks.ts';
import { faultFacts, type ProcessLog } from './process-log.ts';
import { EgressGuard } from './route/egress-guard.ts';
import { isOwnAddress } from './route/own-address.ts';
import { openStandingTask } from './tasks/standing-task.ts';
import { givesMarks } from './tasks/trace-mark.ts';
import type { Secret } from './trust/secret.ts';
import type { Workload } from './workload.ts';
import type { World } from './world.ts';

/** The way out, opened and not yet listening. */
export interface WayOut extends OpenTasks {
  readonly desk: TokenDesk;
  readonly purse: Purse;
  readonly tools: ToolCatalogue['tools'];
  /** When the X.509-SVID came that is in use. */
  readonly svidRotatedAtMs: () => number | undefined;
  readonly endpoints: Endpoints;
  readonly workload: Workload;
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
  /** Ends listening, tasks, tokens and connections; each waits at most `graceMs`. */
  close(graceMs: number): Promise<void>;
}

/** Opens the rooms of the way out and wires them to each other. */
export async function openWayOut(
  config: LoadedSettings,
  paths: Paths,
  world: World,
  record: OpenRecord,
  log: ProcessLog,
): Promise<WayOut> {
  const { settings } = config;
  const rules = compileRulesOrErrors(config, '');
  const catalogue = buildToolCatalogue(settings.tools);
  const own = new Set<number>();
  const guard = new EgressGuard(world, (address, port) => own.has(port) && isOwnAddress(address));
  const { trust, token_services: services, signals } = settings;
  const recognised = [...trust.issuers, ...services.values(), ...(signals?.transmitters ?? [])];
  const endpoints = openEndpoints(guard, world, privateAuthorities(recognised));
  const identity = await openIdentity(settings, guard, world, record, log);
  const { workload } = identity;
  const x509Svids = svidCertificates(workload);
  const desk = openTokenDesk({
    services: settings.token_services,
    world,
    call: endpoints.call,
    jwtSvids: workload,
    x509Svids,
    clusterTokens: workload,
    trail: record.trail,
    onDeadGrant: (txn) => {
      // The end of the task and the answer of the service may cross. Who waits for the agent is told, and not cut off.
      if (tasks.find(txn)?.state === 'open') tasks.end(txn, 'revoked', 'grant_dead', 'token_service', true);
    },
  });
  const { tasks, cutOffs } = openTasks(config, paths, world, record, desk, () => workload.spiffeId());
  const parts = {
    config,
    world,
    record,
    log,
    rules,
    catalogue,
    guard,
    desk,
    tasks,
    cutOffs,
    endpoints,
    workload,
    x509Svids,
    svidRotatedAtMs: identity.rotatedAtMs,
    own,
  };
  const rooms = makeRooms(parts);
  identity.onChange((spiffeId) => {
    // Whoever took the identity away wants nobody to act by it any more, and not only when the next token is due.
    desk.dropIdentity();
    // Rules were decided per tool with the identity of then; a new one decides anew.
    if (spiffeId !== '') rooms.desk = new Desk(compileRulesOrErrors(config, spiffeId), catalogue.tools, record.trail);
  });
  identity.onReplaced(() => desk.retireBound());
  record.late.tasksOpen = () => tasks.openCount;
  record.late.signer = () => signingIdentity(workload);
  record.late.svidExpiryMs = () => workload.svidExpiresAtMs();
  record.late.credentialExpiries = () => firstExpiries(desk);
  return finish(parts, rooms, await openPodCa(paths.caDir, paths.caPublish, world.now));
}

interface Parts extends OpenTasks {
  readonly config: LoadedSettings;
  readonly world: World;
  readonly record: OpenRecord;
  readonly log: ProcessLog;
  readonly rules: CompiledRules;
  readonly catalogue: ToolCatalogue;
  readonly guard: EgressGuard;
  readonly desk: TokenDesk;
  readonly endpoints: Endpoints;
  readonly workload: Workload;
  readonly x509Svids: X509SvidSource;
  readonly svidRotatedAtMs: WayOut['svidRotatedAtMs'];
  /** Ports of our own listeners. */
  readonly own: Set<number>;
}

function finish(parts: Parts, rooms: Rooms, ca: PodCa): WayOut {
  const { tasks, cutOffs, endpoints, workload, world, desk, own } = parts;
  let listener: Listener | undefined;
  return {
    tasks,
    cutOffs,
    desk,
    purse: rooms.purse,
    svidRotatedAtMs: parts.svidRotatedAtMs,
    tools: parts.catalogue.tools,
    endpoints,
    workload,
    world,
    upstreams: rooms.upstreams,
    onFault: rooms.onFault,
    nextCallId: rooms.nextCallId,
    isActive: (service, token) => desk.isActive(service, token),
    isListening: () => listener !== undefined,
    agentAddress: () => {
      const { address = '127.0.0.1', port = 0 } = listener ?? {};
      return formatAddress(/^(?:0\.0\.0\.0|::)$/.test(address) ? '127.0.0.1' : address, port);
    },
    async listen(at, ports, services) {
      const hearers = hearAgent(rooms, services);
      listener = await openListener({ host: at.address, port: at.port }, () => rooms.reader, ca, hearers);
      for (const port of [...ports, listener.port]) own.add(port);
      return formatAddress(listener.address, listener.port);
    },
    async close(graceMs) {
      await listener?.close(graceMs);
      tasks.endAll('shutdown');
      await desk.close(graceMs);
      await Promise.all([rooms.upstreams.close(), endpoints.close()]);
      workload.close();
    },
  };
}

type Rooms = { -readonly [Room in keyof EgressRooms]: EgressRooms[Room] } & { readonly nextCallId: () => string };

function makeRooms(parts: Parts): Rooms {
  const { config, world, record, log, rules, catalogue, tasks } = parts;
  const { settings } = config;
  const pseudonym = `waybill-${world.random(6).toString('hex')}`;
  const nonces = new ToolNonces();
  const secrets = new SecretIndex(tasks.handles.prefix, tasks.marks.prefix);
  const credentialHeaders = new Set(catalogue.tools.flatMap(({ headers }) => headers));
  const upstreams = new Upstreams(world, openToolTls(config, parts.workload, parts.x509Svids, world));
  const choice = openServiceChoice(settings, upstreams, pseudonym, world, log);
  const readsPath = rules.readsPath();
  return {
    world,
    services: choice,
    reader: {
      catalogue,
      classOfName: headerClassifier(credentialHeaders),
      pseudonym,
      rulesPath: (tools) => readsPath || tools.some((tool) => tool.paths.length > 0),
    },
    ladder: {
      handles: tasks.handles,
      secrets,
      trace: { marks: tasks.marks, upTo: settings.tasks.trace_rung, isGiven: givesMarks(settings) },
      opensTasks: settings.purposes.size > 0,
      standing: openStandingTask(settings, parts.workload.spiffeId(), tasks),
    },
    desk: new Desk(rules, catalogue.tools, record.trail),
    guard: parts.guard,
    purse: openPurse({
      desk: parts.desk,
      services: settings.token_services,
      choice,
      svids: parts.x509Svids,
      revocations: parts.cutOffs,
      world,
    }),
    links: new TaskLinks(new LinkSigner(), () => signingIdentity(parts.workload), isSpiffe(settings.identity), world),
    nonces,
    trail: record.trail,
    upstreams,
    road: {
      handles: tasks.handles,
      revocations: parts.cutOffs,
      pseudonym,
      cookies: new CookieJars(world),
      onSecrets: (sent) => secrets.learn(sent),
      onNonce: (origin, nonce) => nonces.keep(origin, nonce),
    },
    onFault: (id, error) => {
      record.trail.fault();
      log.error({ call: id, ...faultFacts(error) }, 'fault');
    },
    nextCallId: callIds(record.log.boot),
  };
}

function firstExpiries(desk: TokenDesk): { tool: string; expiresAtMs: number }[] {
  const first = new Map<string, number>();
  for (const { tool, token } of desk.held()) first.set(tool, Math.min(first.get(tool) ?? Infinity, token.expiresAtMs));
  return [...first].map(([tool, expiresAtMs]) => ({ tool, expiresAtMs }));
}

/** Ids that are told apart across boots and cost nothing. */
function callIds(boot: string): () => string {
  let count = 0;
  return () => `${boot}-${(count += 1).toString(36)}`;
}
