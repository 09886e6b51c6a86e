import { dirname, join } from 'node:path';
import type { Settings } from './settings.ts';

/** Whose process this is; a snapshot, so that the outcome depends on nothing else. */
export interface Surroundings {
  readonly uid: number;
  /** Of the environment: `XDG_STATE_HOME`, `XDG_RUNTIME_DIR`, `HOME`, `TMPDIR`. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Two folders of our own: `state` outlives a restart of the machine, `run` does not. */
export interface Folders {
  readonly state: string;
  readonly run: string;
}

/** Where everything is kept that the configuration may leave out. */
export interface Paths extends Folders {
  readonly caDir: string;
  readonly caPublish: string;
  readonly operatorSocket: string;
  /** Undefined where standard output alone is the record. */
  readonly recordFile: string | undefined;
  /** Whom the sidecar must not serve any more, kept over a restart. */
  readonly revocationsFile: string;
}

/**
 * The folders that are used when nothing is said: those of the system for root, those of the XDG base directories for others.
 * Without `XDG_RUNTIME_DIR`, `run` is under the temporary folder, where others could have made it first: whoever uses it must make it
 * with mode 0700 and refuse one that belongs to somebody else.
 */
export function defaultFolders(surroundings: Surroundings): Folders {
  const { uid, env } = surroundings;
  if (uid === 0) return { state: '/var/lib/waybill', run: '/run/waybill' };
  const temporary = temporaryFolder(surroundings);
  const home = absolute(env['HOME']);
  const stateHome = absolute(env['XDG_STATE_HOME']) ?? (home === undefined ? undefined : join(home, '.local/state'));
  const runtime = absolute(env['XDG_RUNTIME_DIR']);
  return {
    state: stateHome === undefined ? join(temporary, 'state') : join(stateHome, 'waybill'),
    run: runtime === undefined ? temporary : join(runtime, 'waybill'),
  };
}

/** What has to outlive a restart of the machine, and lies in our folder under the temporary one all the same. */
export function listVolatile({ recordFile, revocationsFile }: Paths, surroundings: Surroundings): readonly string[] {
  const folder = `${temporaryFolder(surroundings)}/`;
  return [recordFile, revocationsFile].flatMap((path) => (path?.startsWith(folder) === true ? [path] : []));
}

/** The paths of a configuration, with the defaults of WIRE 2 filled in. */
export function resolvePaths(settings: Settings, surroundings: Surroundings): Paths {
  const folders = defaultFolders(surroundings);
  // What is named there, such as /dev/stdout, is no file, and beside it is no place for one.
  const isDevice = /^\/(?:dev|proc)\//.test(settings.record.file ?? '');
  const stdoutAlone = settings.record.stdout && settings.record.file === undefined;
  const recordFile = stdoutAlone ? undefined : (settings.record.file ?? join(folders.state, 'events.jsonl'));
  return {
    ...folders,
    caDir: settings.ca.dir ?? join(folders.run, 'ca'),
    caPublish: settings.ca.publish ?? join(folders.run, 'trust'),
    operatorSocket: settings.operator.socket ?? join(folders.run, 'operator.sock'),
    recordFile,
    // Beside the record, which a restart finds again too.
    revocationsFile:
      settings.operator.revocations ??
      join(recordFile === undefined || isDevice ? folders.state : dirname(recordFile), 'revocations.json'),
  };
}

function temporaryFolder({ uid, env }: Surroundings): string {
  return join(absolute(env['TMPDIR']) ?? '/tmp', `waybill-${uid}`);
}

/** The XDG specification tells to ignore relative paths; an empty variable is an unset one. */
function absolute(path: string | undefined): string | undefined {
  return path?.startsWith('/') === true ? path : undefined;
}
