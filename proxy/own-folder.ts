import { lstatSync, mkdirSync } from 'node:fs';
import type { Paths } from '../config/paths.ts';

/**
 * Makes the default run folder, where one of the paths lies in it, and refuses one that belongs to somebody else: under the temporary
 * folder, another user could have made it first, with a CA of his own in it or a link to where we should not write.
 * @param uid of this process. @throws Error with a sentence for the operator.
 */
export function claimRunFolder(
  { run, caDir, caPublish, operatorSocket }: Pick<Paths, 'run' | 'caDir' | 'caPublish' | 'operatorSocket'>,
  uid: number,
): void {
  if (![caDir, caPublish, operatorSocket].some((path) => path.startsWith(`${run}/`))) return;
  mkdirSync(run, { recursive: true, mode: 0o700 });
  const fault = findRunFolderFault(run, uid);
  if (fault !== undefined) throw new Error(fault);
}

/** Why a run folder that is there cannot be used, in a sentence for the operator; undefined where it can, or is still to be made. */
export function findRunFolderFault(run: string, uid: number): string | undefined {
  const found = lstatSync(run, { throwIfNoEntry: false });
  if (found === undefined) return undefined;
  if (!found.isDirectory()) return `${run} is no folder; remove it, or name the folders in ca and operator.socket`;
  if (found.uid === uid && (found.mode & 0o022) === 0) return undefined;
  return `${run} belongs to, or can be written by, another user; name the folders in ca and operator.socket`;
}
