import { lstatSync, mkdirSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import type { Folders, Paths } from '../config/paths.ts';

/** Where what is kept lies, as far as it is known. */
type Kept = Folders & Partial<Paths>;

/**
 * Makes the default folder under the temporary one or in the run folder, where one of the paths lies in it, and refuses one that belongs
 * to somebody else: another user could have made it first, with a CA of his own in it or a link to where we should not write, or to take
 * the revocations away.
 * @param uid of this process. @throws Error with a sentence for the operator.
 */
export function claimRunFolder(paths: Kept, uid: number): void {
  for (const folder of usedFolders(paths)) mkdirSync(folder, { recursive: true, mode: 0o700 });
  const fault = findFolderFault(paths, uid);
  if (fault !== undefined) throw new Error(fault);
}

/** Why the default folders that these paths lie in cannot be used, as `findRunFolderFault` says it. */
export function findFolderFault(paths: Kept, uid: number): string | undefined {
  for (const folder of usedFolders(paths)) {
    const fault = findRunFolderFault(folder, uid);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

/**
 * Why a command must not believe what lies in these default folders. Those of root lie where root alone makes folders, and may have been
 * given to the user of the sidecar: root still reaches it.
 */
export function findForeignFault(paths: Kept, uid: number): string | undefined {
  return uid === 0 ? undefined : findFolderFault(paths, uid);
}

/** Why a run folder that is there cannot be used, in a sentence for the operator; undefined where it can, or is still to be made. */
export function findRunFolderFault(run: string, uid: number): string | undefined {
  const found = lstatSync(run, { throwIfNoEntry: false });
  if (found === undefined) return undefined;
  if (!found.isDirectory()) return `${run} is no folder; remove it, or name other places in ca, operator and record`;
  if (found.uid === uid && (found.mode & 0o022) === 0) return undefined;
  return `${run} belongs to, or can be written by, another user; name other places in ca, operator and record`;
}

function usedFolders({ run, state, caDir, caPublish, operatorSocket, recordFile, revocationsFile }: Kept): string[] {
  // Without a home, what is to be kept lies under the temporary folder too.
  const above = dirname(state);
  const folders = basename(above).startsWith('waybill-') && above !== run ? [run, above] : [run];
  const paths = [caDir, caPublish, operatorSocket, recordFile, revocationsFile];
  return folders.filter((folder) => paths.some((path) => path?.startsWith(`${folder}/`)));
}
