import { statSync } from 'node:fs';
import { missingRecord, version } from '../../open-record.ts';
import { findForeignFault } from '../../own-folder.ts';
import { CommandFailure, exitCodes } from '../command.ts';
import { callOperator } from '../operator-client.ts';
import { inStep, Late, wordOf, type Findings } from './finding.ts';
import type { Patient } from './patient.ts';

/** What the sidecar says of itself. Nobody is asked where the socket lies in a folder that somebody else may have made: he is no sidecar. */
export async function askSidecar({ paths, surroundings }: Patient): Promise<Readonly<Record<string, unknown>>> {
  const { run, state, operatorSocket } = paths;
  const fault = findForeignFault({ run, state, operatorSocket }, surroundings.uid);
  if (fault !== undefined) throw new CommandFailure(exitCodes.unavailable, fault);
  return inStep(callOperator({ socket: operatorSocket }, 'GET', '/v1/sidecar'));
}

/** Whether a sidecar answers at the operator's socket, and whether it runs this program and this configuration. */
export async function checkSidecar(patient: Patient, found: Findings): Promise<void> {
  const { config } = patient;
  let self: Readonly<Record<string, unknown>>;
  try {
    self = await askSidecar(patient);
  } catch (error) {
    // Somebody has the socket: called absent, a sidecar that hangs would leave nothing that failed.
    if (error instanceof Late) {
      found.fail(
        `it does not answer at ${patient.paths.operatorSocket} (${error.message})`,
        'It hangs, or the machine is too busy for it, and calls wait as well: see its log, and start it anew.',
      );
      return;
    }
    const why = error instanceof CommandFailure ? error.message : wordOf(error);
    found.info(`none answers: ${why}`);
    return;
  }
  const { pid, version: running, config: digest, missing } = self;
  if (Array.isArray(missing))
    for (const what of missing)
      found.fail(`it is not ready: ${String(what)}`, `${placeToLook(what, patient)} Until then it refuses calls.`);
  const shown = `${String(digest).slice(0, 16)}, version ${String(running)}, pid ${String(pid)}`;
  if (digest !== config.digest)
    found.warn(
      `it runs another configuration (digest ${shown}); this one is ${config.digest.slice(0, 16)}`,
      'A good change is taken within seconds; its log says why this one is not. Restart it, or name the configuration that it runs.',
    );
  else if (running !== version)
    found.warn(`it runs another version (digest ${shown}); this is ${version}`, 'Restart it.');
  else found.ok(`it runs this configuration (digest ${shown})`);
}

/** Of a record that is no file the log has no line: it may be the same pipe, and full. */
function placeToLook(what: unknown, { paths: { recordFile } }: Patient): string {
  if (what !== missingRecord || (recordFile !== undefined && mayBeFile(recordFile))) return 'See its log.';
  return `See to whatever reads ${recordFile ?? 'its standard output'}: the log has no line about it.`;
}

/** What `/dev/stdout` is of the sidecar cannot be seen from here. */
function mayBeFile(path: string): boolean {
  if (/^\/(?:dev|proc)\//.test(path)) return false;
  try {
    return statSync(path).isFile();
  } catch {
    return true;
  }
}
