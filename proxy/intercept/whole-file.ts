import { randomBytes } from 'node:crypto';
import { closeSync, fchmodSync, linkSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';

/**
 * Written beside and renamed: a reader never sees half a file. From the first byte nobody may do more with it than the mode says, and under
 * its name no less: the umask of the process would close what others are to read.
 * @throws the system's error, which names the file.
 */
export function replaceFile(file: string, content: string, mode: number): void {
  place(file, content, mode, renameSync);
}

/**
 * The same, but a file that is there stays: of several that make it at once, the first one's does. Whoever goes on with what he made, and
 * not with what stands there, may be alone with it.
 */
export function makeFile(file: string, content: string, mode: number): void {
  place(file, content, mode, linkAlone);
}

function place(file: string, content: string, mode: number, name: (from: string, to: string) => void): void {
  const beside = `${file}.${randomBytes(8).toString('hex')}.new`;
  try {
    // On disk before it has its name: after a power cut nobody finds it empty.
    const opened = openSync(beside, 'wx', mode);
    try {
      writeFileSync(opened, content, { flush: true });
      // Of what was opened: who may write to the folder could have put a link in its place.
      fchmodSync(opened, mode);
    } finally {
      closeSync(opened);
    }
    name(beside, file);
  } catch (error) {
    throw withFile(error, file);
  } finally {
    // A full disk must not fill with what each start leaves.
    rmSync(beside, { force: true });
  }
}

function linkAlone(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (code === 'EEXIST') return;
    // Some file systems have no second names. There the last one's stays.
    if (!/^E(?:PERM|NOTSUP|NOSYS)$/.test(code)) throw error;
    renameSync(from, to);
  }
}

/** Where a write failed, on a full disk, the system does not say which. */
function withFile(error: unknown, file: string): unknown {
  if (!(error instanceof Error) || ('path' in error && error.path !== undefined)) return error;
  const { code, errno }: NodeJS.ErrnoException = error;
  return Object.assign(new Error(`${error.message} '${file}'`, { cause: error }), { code, errno });
}
