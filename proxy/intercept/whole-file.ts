import { randomBytes } from 'node:crypto';
import { chmodSync, renameSync, rmSync, writeFileSync } from 'node:fs';

/**
 * Written beside and renamed: a reader never sees half a file. From the first byte nobody may do more with it than the mode says, and under
 * its name no less: the umask of the process would close what others are to read.
 * @throws the system's error, which names the file.
 */
export function replaceFile(file: string, content: string, mode: number): void {
  const beside = `${file}.${randomBytes(8).toString('hex')}.new`;
  try {
    writeFileSync(beside, content, { mode, flag: 'wx' });
    chmodSync(beside, mode);
    renameSync(beside, file);
  } catch (error) {
    // A full disk must not fill with what each start leaves.
    rmSync(beside, { force: true });
    throw withFile(error, file);
  }
}

/** Where a write failed, on a full disk, the system does not say which. */
function withFile(error: unknown, file: string): unknown {
  if (!(error instanceof Error) || ('path' in error && error.path !== undefined)) return error;
  const { code, errno }: NodeJS.ErrnoException = error;
  return Object.assign(new Error(`${error.message} '${file}'`, { cause: error }), { code, errno });
}
