import type { LoadedSettings } from '../config/load.ts';
import { listVolatile, resolvePaths } from '../config/paths.ts';
import { checkReloadable } from '../config/restart.ts';
import { listUnsafe } from '../config/unsafe.ts';
import { compileRulesOrErrors } from './check-rules.ts';
import { openWayIn, type WayIn } from './way-in.ts';
import { openWayOut, type WayOut } from './way-out.ts';
import { openProcessLog, type ProcessLog } from './process-log.ts';
import { metricNames, openRecord, type OpenRecord } from './open-record.ts';
import { claimRunFolder } from './own-folder.ts';
import { openSteward, type Steward } from './open-steward.ts';
import { agentPeerOf } from './tasks/peer-binding.ts';
import { bindsProcesses, findBlindness } from './tasks/process-sight.ts';
import type { TaskBook } from './tasks/task-book.ts';
import { realWorld, type World } from './world.ts';

/** A running sidecar. Addresses are `host:port`, and the path of the operator's socket. */
export interface Sidecar {
  readonly addresses: {
    readonly outbound: string;
    /** Undefined without `inbound`. */
    readonly inbound: string | undefined;
    readonly metrics: string;
    readonly health: string;
    readonly socket: string;
    /** Undefined where no operator's token is configured. */
    readonly operator: string | undefined;
    /** Undefined without `signals`. */
    readonly signals: string | undefined;
  };
  /** `host:port` of the way out as an agent on this machine calls it, where it listens everywhere too. */
  readonly agentAddress: string;
  readonly tasks: TaskBook;
  /**
   * Puts a configuration in force; calls under way go on with the one they began with, and tasks stay open. Throws `ConfigErrors` for what
   * cannot be taken, and changes nothing then. Returns whether it is another one than before.
   */
  reload(config: LoadedSettings): boolean;
  /** Records that a changed configuration was not taken. @param places of what is wrong in it; no values. */
  rejected(places: readonly string[]): void;
  /** The file of the record may have been moved away: goes on in a new one then. Never throws. */
  reopenRecord(): void;
  /** Stops listening, lets calls end for a moment, ends all tasks, takes their tokens back, closes the record. */
  close(): Promise<void>;
}

/** How long calls may go on, and revocations may take, when the sidecar stops; milliseconds each. */
const graceMs = 2000;
const volatile =
  'what is to be kept lies in the temporary folder, which a restart of the machine may clear; set XDG_STATE_HOME or HOME, or name other places in record.file and operator.revocations';

/**
 * Opens a sidecar: everything is made from the configuration first, then it listens. Throws `ConfigErrors` for rules that do not
 * compile, and the system's error where a file or a port cannot be had.
 */
export async function openSidecar(
  config: LoadedSettings,
  world: World = realWorld(config.settings.dns.servers),
  log: ProcessLog = openProcessLog(),
): Promise<Sidecar> {
  const { settings } = config;
  // First: rules that do not compile are told before anything is opened.
  compileRulesOrErrors(config, '');
  const uid = process.getuid?.() ?? 0;
  const surroundings = { uid, env: process.env };
  const paths = resolvePaths(settings, surroundings);
  claimRunFolder(paths, uid);
  const files = listVolatile(paths, surroundings);
  // With them would go who was revoked.
  if (files.length > 0) log.warn({ files }, volatile);
  const unsafe = listUnsafe(settings);
  const record = openRecord(config, paths, world, unsafe, log);
  const opened: Openings = {};
  try {
    const wayOut = (opened.wayOut = await openWayOut(config, paths, world, record, log));
    const wayIn = (opened.wayIn =
      settings.inbound === undefined ? undefined : openWayIn(config, settings.inbound, wayOut, record));
    tellUnsafe(unsafe, record, log);
    const peer = agentPeerOf(settings);
    if (bindsProcesses(peer))
      for (const why of findBlindness(peer, uid)) log.warn({ why }, 'processes of the agent are not told apart');
    const steward = (opened.steward = await openSteward(settings, paths, record, wayOut, log));
    record.sign();
    const inbound = await wayIn?.listen();
    const ports = inbound === undefined ? steward.ports : [...steward.ports, inbound.port];
    const services = { jwks: wayIn?.inert.jwks, door: steward.agentDoor };
    const outbound = await wayOut.listen(settings.listen.outbound, ports, services);
    const addresses = { outbound, inbound: inbound?.address, ...steward.addresses };
    log.info({ addresses, pid: process.pid, config: config.digest.slice(0, 16) }, 'ready');
    const ways = { wayOut, wayIn, steward };
    return {
      addresses,
      agentAddress: wayOut.agentAddress(),
      tasks: wayOut.tasks,
      reload: reloading(config, ways, record, log),
      rejected: (places) => record.trail.reloadRejected(places),
      reopenRecord: () => record.reopen(),
      close: closing(opened, record, log),
    };
  } catch (error) {
    await closeOpened(opened, 0);
    record.close();
    throw error;
  }
}

/** What was opened so far, for a start that fails half-way. */
interface Openings {
  wayOut?: WayOut;
  wayIn?: WayIn | undefined;
  steward?: Steward;
}

/** Callers first, so that nothing new comes in; the operator's side last. */
async function closeOpened({ wayIn, wayOut, steward }: Openings, withinMs: number): Promise<void> {
  await wayIn?.close(withinMs);
  await wayOut?.close(withinMs);
  await steward?.close();
}

type Ways = { readonly wayOut: WayOut; readonly wayIn: WayIn | undefined; readonly steward: Steward };

/** Everything is made first and then put in force at once: a fault on the way leaves what was. */
function reloading(
  first: LoadedSettings,
  { wayOut, wayIn, steward }: Ways,
  record: OpenRecord,
  log: ProcessLog,
): Sidecar['reload'] {
  let current = first;
  return (config) => {
    checkReloadable(current, config);
    const { settings } = config;
    const adoptIn = settings.inbound === undefined ? undefined : wayIn?.prepare(config, settings.inbound);
    const adoptOut = wayOut.prepare(config);
    const unsafe = listUnsafe(settings);
    const known = new Set(listUnsafe(current.settings));
    const news = unsafe.filter((setting) => !known.has(setting));
    record.metrics.adopt(metricNames(settings, unsafe));
    adoptOut();
    adoptIn?.();
    steward.adopt();
    const isOther = config.digest !== current.digest;
    current = config;
    record.trail.reloaded(config.digest, isOther);
    tellUnsafe(news, record, log);
    return isOther;
  };
}

function tellUnsafe(settings: readonly string[], record: OpenRecord, log: ProcessLog): void {
  for (const setting of settings) {
    record.trail.unsafe(setting);
    log.warn({ setting }, 'unsafe setting');
  }
}

function closing(opened: Openings, record: Pick<OpenRecord, 'hold' | 'close'>, log: ProcessLog): () => Promise<void> {
  let closed: Promise<void> | undefined;
  return () => {
    closed ??= (async () => {
      opened.steward?.announceStop();
      log.info('stopping');
      record.hold();
      await closeOpened(opened, graceMs);
      record.close();
      log.info('stopped');
    })();
    return closed;
  };
}
