import { resolve } from 'node:path';
import { ConfigErrors } from '../../config/config-errors.ts';
import { CommandFailure, exitCodes, jsonOption, type Invocation } from './command.ts';
import { configOption, defaultConfigFile, findConfigFile, findPlaces, type CheckedConfig } from './config-file.ts';
import type { OperatorPlace } from './operator-client.ts';
import { findForeignFault } from '../own-folder.ts';
import { findRunning } from './running-file.ts';

/** Options of every command that speaks to a sidecar: where the sidecar is, and how its answer is shown. */
export const connection = {
  ...configOption,
  ...jsonOption,
  socket: { type: 'string' },
  url: { type: 'string' },
  'token-file': { type: 'string' },
} as const;

/** Where the sidecar is, and where it publishes its certificate. */
export interface Sidecar {
  readonly place: OperatorPlace;
  readonly trustFolder: string;
  /** Why nothing in the trust folder may be believed; undefined where it may. */
  readonly trustFault: string | undefined;
}

/** The options of `connection` as they were given. */
export interface ConnectionValues {
  readonly config?: string | undefined;
  readonly socket?: string | undefined;
  readonly url?: string | undefined;
  readonly 'token-file'?: string | undefined;
}

/** Decides which sidecar is meant. Two ways at once are an error: acting on another sidecar than the person means is worse. */
export function findSidecar(values: ConnectionValues, invocation: Invocation): Sidecar {
  const { surroundings } = invocation;
  const { socket, url, 'token-file': tokenFile } = values;
  if ((url === undefined) !== (tokenFile === undefined) || (url !== undefined && socket !== undefined)) {
    throw new CommandFailure(exitCodes.usage, 'give --socket PATH, or --url URL together with --token-file FILE');
  }
  // Node.js takes an empty path for none, and would ask whoever listens at port 80.
  if (socket === '') throw new CommandFailure(exitCodes.usage, '--socket is empty: it names the path of a socket');
  // Who names the sidecar itself need not have its configuration in order.
  const named = socket !== undefined || url !== undefined;
  const found = named && values.config === undefined ? undefined : findConfigOrAdvise(values.config, invocation);
  const { run, state, operatorSocket, caPublish } = findPlaces(found, surroundings);
  // Under the temporary folder somebody else could have a CA for the shell of who opens a task. Who revokes asks for none.
  const trustFault = findForeignFault({ run, state, caPublish }, surroundings.uid);
  const trust = { trustFolder: caPublish, trustFault };
  if (url === undefined || tokenFile === undefined) {
    const meant = socket ?? operatorSocket;
    // He could wait there for subject tokens, and say that all is revoked.
    const fault = findForeignFault({ run, state, operatorSocket: resolve(meant) }, surroundings.uid);
    if (fault !== undefined) throw new CommandFailure(exitCodes.unavailable, fault);
    return { place: { socket: meant }, ...trust };
  }
  if (!URL.canParse(url)) throw new CommandFailure(exitCodes.usage, '--url is no URL, such as http://127.0.0.1:15000');
  return { place: { url: new URL(url), tokenFile }, ...trust };
}

/** A file that its sidecar did not take must keep nobody from the sidecar: an emergency seldom waits until it is mended. */
function findConfigOrAdvise(named: string | undefined, { surroundings, tell }: Invocation): CheckedConfig | undefined {
  try {
    return findConfigFile(named, surroundings);
  } catch (error) {
    if (error instanceof ConfigErrors) {
      const socket = findRunning(named ?? defaultConfigFile, surroundings)?.socket ?? 'PATH';
      tell(`The configuration does not say where the sidecar is; to reach one that runs: --socket ${socket}`);
    }
    throw error;
  }
}
