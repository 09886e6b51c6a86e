import type { Paths } from '../config/paths.ts';
import type { Settings } from '../config/settings.ts';
import { openInventory } from './open-inventory.ts';
import { missingRecord, type OpenRecord } from './open-record.ts';
import type { openSignals } from './open-signals.ts';
import { formatAddress } from './intercept/authority.ts';
import { faultFacts, type ProcessLog } from './process-log.ts';
import { Issuers } from './trust/issuers.ts';
import { IssuerMetadata } from './trust/issuer-metadata.ts';
import { JwksCache } from './trust/jwks.ts';
import type { OwnServices } from './hear-agent.ts';
import { MemoryLedger } from './replay/ledgers/memory.ts';
import { maxSpentSubjects } from './steward/agent-door.ts';
import type { WayOut } from './way-out.ts';
import { writeCutOffs } from './steward/cut-off-file.ts';
import { EventStream } from './steward/event-stream.ts';
import { Fleet } from './steward/fleet.ts';
import { KillSwitch } from './steward/kill-switch.ts';
import { maxCutOffs } from './tasks/cut-offs.ts';
import { isKnownIssuer } from './steward/known-issuers.ts';
import { TaskOpener } from './steward/open-task.ts';
import type { OperatorRooms } from './steward/operator-api.ts';
import { openOperatorPort, openOperatorSocket, type StewardListener } from './steward/operator-listener.ts';
import { RoleTokens } from './steward/roles.ts';
import { openHealth, openMetrics } from './steward/witness.ts';

/** The operator's side, listening. */
export interface Steward {
  readonly addresses: {
    readonly metrics: string;
    readonly health: string;
    readonly socket: string;
    readonly operator: string | undefined;
    readonly signals: string | undefined;
  };
  readonly ports: readonly number[];
  /** What the agent's own door works on, which is on the agent's port. */
  readonly agentDoor: OwnServices['door'];
  /** Goes on by the configuration that the way out has taken. */
  adopt(): void;
  /** From here on readiness says that the sidecar stops: its ways take nothing new, and this side is open until what is under way has ended. */
  announceStop(): void;
  close(): Promise<void>;
}

/** Opens the operator's API (socket, and port where tokens are configured), metrics and health. */
export async function openSteward(
  settings: Settings,
  paths: Paths,
  record: OpenRecord,
  wayOut: WayOut,
  log: ProcessLog,
): Promise<Steward> {
  const issuersOf = openIssuers(wayOut);
  const opener = new TaskOpener(settings, issuersOf(settings), wayOut.tasks);
  const rooms: OperatorRooms = {
    book: wayOut.tasks,
    opener,
    inventory: openInventory(settings, wayOut, record),
    killSwitch: openKillSwitch(settings, wayOut, paths, record, log),
    events: openEvents(paths, record),
    shared: () => fleet?.shared(),
    knowsIssuer: (iss) => isKnownIssuer(iss, wayOut.config.settings),
    outbound: () => wayOut.agentAddress(),
    self: () => ({ ...record.self, config: wayOut.config.digest, pid: process.pid, missing: missing(record, wayOut) }),
    onFault: (error) => log.error(faultFacts(error), 'fault of the operator’s API'),
  };
  const fleet = openFleet(settings, wayOut, rooms.killSwitch, record, log);
  const tokens = new RoleTokens(settings.operator.tokens);
  const opened: StewardListener[] = [];
  let stopping = false;
  try {
    const socket = await keep(opened, openOperatorSocket(paths.operatorSocket, rooms));
    const at = settings.operator.listen;
    const operator = tokens.isEmpty ? undefined : await keep(opened, openOperatorPort(at, tokens, rooms));
    const metrics = await keep(opened, openMetrics(settings.listen.metrics, record.metrics.registry));
    const health = await keep(
      opened,
      openHealth(settings.listen.health, () => (stopping ? ['the sidecar is stopping'] : missing(record, wayOut))),
    );
    const signals =
      settings.signals && (await keep(opened, hearSignals(settings.signals, wayOut, rooms.killSwitch, record, log)));
    return {
      addresses: { ...addressesOf({ metrics, health, operator, signals }), socket: socket.address },
      adopt: () => opener.adopt(wayOut.config.settings, issuersOf(wayOut.config.settings)),
      announceStop: () => void (stopping = true),
      agentDoor: {
        get settings() {
          return wayOut.config.settings;
        },
        book: wayOut.tasks,
        opener,
        spent: new MemoryLedger(wayOut.world, maxSpentSubjects),
        world: wayOut.world,
        outbound: rooms.outbound,
        onFault: (error) => log.error(faultFacts(error), 'fault of the agent’s own door'),
      },
      ports: opened.flatMap(({ port }) => port ?? []),
      close: () => closeAll(opened, fleet),
    };
  } catch (error) {
    await closeAll(opened, fleet);
    throw error;
  }
}

function openEvents({ recordFile }: Paths, { log, files }: OpenRecord): EventStream {
  return new EventStream({ file: recordFile, files, boot: log.boot, sequence: () => log.counts.sequence });
}

/** Issuers of subject tokens, over one set of keys and metadata. */
function openIssuers({ world, endpoints: { call, vouchedBy } }: WayOut): (settings: Settings) => Issuers {
  const keys = new JwksCache(world, call, vouchedBy);
  const metadata = new IssuerMetadata(world, call, vouchedBy);
  return ({ trust }) => new Issuers({ issuers: trust.issuers, keys, metadata, world });
}

function openKillSwitch(
  { fleet }: Settings,
  wayOut: WayOut,
  paths: Paths,
  record: OpenRecord,
  log: ProcessLog,
): KillSwitch {
  const { tasks: book, cutOffs, desk, world } = wayOut;
  const kept = cutOffs.list().length;
  if (kept > 0) log.warn({ revocations: kept, file: paths.revocationsFile }, 'revocations of earlier runs hold');
  cutOffs.onForgotten(() =>
    log.warn(
      { kept: maxCutOffs },
      'more is revoked than can be kept: all that was issued before the oldest is refused',
    ),
  );
  return new KillSwitch({
    book,
    cutOffs,
    custody: desk,
    get tools() {
      return wayOut.tools;
    },
    trail: record.trail,
    world,
    keep: (all) => writeCutOffs(paths.revocationsFile, all),
    isShared: fleet !== undefined,
  });
}

/** The others of the fleet hear of what is revoked here, and it of them. Undefined where there are none. */
function openFleet(
  { fleet: settings }: Settings,
  wayOut: WayOut,
  killSwitch: KillSwitch,
  { metrics }: OpenRecord,
  log: ProcessLog,
): Fleet | undefined {
  if (settings === undefined) return undefined;
  const { tasks, cutOffs, world } = wayOut;
  const cutStreams = (): void => {
    const spared = wayOut.tools.filter(({ credentialed }) => !credentialed).map(({ name }) => name);
    for (const task of tasks.list()) task.cutCalls(spared);
  };
  const fleet = new Fleet({
    settings,
    cutOffs,
    take: (revoked) => killSwitch.take(revoked),
    cutStreams,
    counts: metrics.fleet,
    world,
    log,
  });
  killSwitch.onRevoked(() => fleet.tell());
  metrics.fleet.isInTouch = () => fleet.isInTouch;
  fleet.start();
  return fleet;
}

/** Loaded only where it is configured: what every sidecar loads counts in each pod (decisions/0026). */
async function hearSignals(...parts: Parameters<typeof openSignals>): Promise<StewardListener> {
  const receiver = await import('./open-signals.ts');
  return receiver.openSignals(...parts);
}

async function keep(opened: StewardListener[], opening: Promise<StewardListener>): Promise<StewardListener> {
  const listener = await opening;
  opened.push(listener);
  return listener;
}

async function closeAll(opened: readonly StewardListener[], fleet: Fleet | undefined): Promise<void> {
  fleet?.close();
  await Promise.allSettled(opened.map((listener) => listener.close()));
}

function missing(record: OpenRecord, wayOut: WayOut): readonly string[] {
  const identity = wayOut.workload.missing();
  return [
    ...(record.log.isWritable ? [] : [missingRecord]),
    ...(identity === undefined ? [] : [identity]),
    ...(wayOut.cutOffs.isCurrent ? [] : ['the store of the fleet does not say what was revoked']),
    ...(wayOut.isListening() ? [] : ['the way out does not listen yet']),
  ];
}

function addressesOf(listeners: {
  readonly metrics: StewardListener;
  readonly health: StewardListener;
  readonly operator: StewardListener | undefined;
  readonly signals: StewardListener | undefined;
}): Omit<Steward['addresses'], 'socket'> {
  const { metrics, health, operator, signals } = listeners;
  return {
    metrics: named(metrics),
    health: named(health),
    operator: operator && named(operator),
    signals: signals && named(signals),
  };
}

function named({ address, port }: StewardListener): string {
  return formatAddress(address, port ?? 0);
}
