import { readFileSync } from 'node:fs';
import { findPackageJSON } from 'node:module';
import type { LoadedSettings } from '../config/load.ts';
import type { Paths } from '../config/paths.ts';
import type { Settings } from '../config/settings.ts';
import { buildToolCatalogue } from './intercept/tool-catalogue.ts';
import type { CheckpointIdentity } from './record/checkpoint.ts';
import { checkpointEveryMs, Checkpoints } from './record/checkpoints.ts';
import { EventLog } from './record/event-log.ts';
import {
  openDeviceSink,
  openFileSink,
  openStreamSink,
  withCopy,
  type EventSink,
  type FileSink,
} from './record/event-sink.ts';
import { Metrics, type MetricNames, type MetricSources } from './record/metrics.ts';
import { Rotation } from './record/rotation.ts';
import { Trail, type TellUnproven } from './record/trail.ts';
import { WrittenFiles } from './record/written-files.ts';
import { onceAMinute, tellStates } from './once-a-minute.ts';
import type { ProcessLog } from './process-log.ts';
import type { World } from './world.ts';

/** Version of the package. */
export const version = readVersion();

/** What the record cannot know when it is opened, filled in by the way out. */
export interface LateSources {
  tasksOpen: () => number;
  ledgerEntries: () => number;
  svidLife: () => ReturnType<MetricSources['svidLife']>;
  credentialExpiries: () => readonly { readonly tool: string; readonly expiresAtMs: number }[];
  /** The X.509-SVID that signs checkpoints. */
  signer: () => CheckpointIdentity | undefined;
}

/** The record of a sidecar: events, metrics and the trail that writes both. */
export interface OpenRecord {
  readonly log: EventLog;
  readonly metrics: Metrics;
  readonly trail: Trail;
  /** Undefined where the record is no file. */
  readonly files: WrittenFiles | undefined;
  readonly late: LateSources;
  /** Which program runs, as the boot event says. */
  readonly self: { readonly version: string; readonly boot: string };
  /** Signs what stands there so far; called once, before anything is let through. */
  sign(): void;
  /** Goes on in the file that the path leads to, where that is another one by now. Never throws. */
  reopen(): void;
  /** To be called when the sidecar begins to stop, while its identity is still there. */
  hold(): void;
  close(): void;
}

/** What a sidecar misses that cannot write its record. */
export const missingRecord = 'the record cannot be written';

/**
 * Tells of a record that is a file. Standard output may be the same pipe as the log: one that is full would stop the process at the very
 * line that says so, where it has to refuse calls.
 */
function tellerOf(log: ProcessLog, world: World, isFile: boolean) {
  return tellStates(world, (isWritable) => {
    if (!isFile) return;
    if (isWritable) log.info('the record is written again');
    else log.error(`${missingRecord}: every call is refused until it can`);
  });
}

function unprovenTo(log: ProcessLog, world: World): TellUnproven {
  const what = 'calls are refused: a file that proves who we are cannot be used';
  return onceAMinute(world, (file: string, cause: string) => log.warn({ file, cause }, what));
}

/** Opens the record and writes its `boot` event. Throws where the file cannot be opened: no record, no sidecar. */
export function openRecord(
  config: LoadedSettings,
  paths: Paths,
  world: World,
  unsafe: readonly string[],
  processLog: ProcessLog,
): OpenRecord {
  const { settings } = config;
  const late: LateSources = {
    tasksOpen: () => 0,
    ledgerEntries: () => 0,
    svidLife: () => undefined,
    credentialExpiries: () => [],
    signer: () => undefined,
  };
  let copiesLost = 0;
  const { sink, file } = openSink(paths.recordFile, settings.record.stdout, () => (copiesLost += 1));
  const teller = tellerOf(processLog, world, file !== undefined);
  const log = new EventLog(sink, world, teller.set);
  const metrics = new Metrics(
    {
      version,
      tasksOpen: () => late.tasksOpen(),
      ledgerEntries: () => late.ledgerEntries(),
      svidLife: () => late.svidLife(),
      credentialExpiries: () => late.credentialExpiries(),
      events: () => ({ ...log.counts, copiesLost }),
    },
    metricNames(settings, unsafe),
  );
  const trail = new Trail(log, metrics, settings.agent.name, unprovenTo(processLog, world));
  const checkpoints = new Checkpoints(log, () => late.signer(), checkpointEveryMs);
  trail.booted(version, config.digest, checkpoints.key, file?.follows);
  const files = file && new WrittenFiles(file.place());
  const rotation =
    file &&
    new Rotation(file, processLog, world, (outcome) => {
      metrics.recordReopens.of(outcome).value += 1;
      if (outcome === 'reopened') files?.add(file.place(), log.counts.sequence);
    });
  const close = (): void => {
    checkpoints.close();
    teller.close();
    rotation?.close();
    log.close();
  };
  const self = { version, boot: log.boot };
  return {
    log,
    metrics,
    trail,
    files,
    late,
    self,
    sign: () => checkpoints.start(),
    reopen: () => rotation?.now(),
    hold: () => checkpoints.hold(),
    close,
  };
}

/** The names of a configuration that series are made of. */
export function metricNames(settings: Settings, unsafe: readonly string[]): MetricNames {
  const { tools } = buildToolCatalogue(settings.tools);
  const services = [...settings.token_services.keys()];
  return { tools, services, rules: settings.rules, unsafe, program: settings.inbound?.program };
}

/** Where the lines go, and the file of the record where it is one, which may be rotated. */
function openSink(
  path: string | undefined,
  stdout: boolean,
  onLost: () => void,
): { readonly sink: EventSink; readonly file: FileSink | undefined } {
  if (path === undefined) return { sink: openStdout(), file: undefined };
  const copied = (record: EventSink): EventSink => (stdout ? withCopy(record, openStdout(), onLost) : record);
  const device = openDeviceSink(path);
  if (device !== undefined) return { sink: copied(device), file: undefined };
  const file = openFileSink(path);
  return { sink: copied(file), file };
}

/** Touching process.stdout makes a pipe non-blocking: a reader that stalls must refuse calls, not stop the process. */
function openStdout(): EventSink {
  return openStreamSink(process.stdout.fd);
}

function readVersion(): string {
  // The nearest above: emitted and bundled, this file stands elsewhere.
  const text = readFileSync(findPackageJSON(import.meta.url) ?? '', 'utf8');
  const parsed: unknown = JSON.parse(text);
  return typeof parsed === 'object' && parsed !== null && 'version' in parsed ? String(parsed.version) : 'unknown';
}
