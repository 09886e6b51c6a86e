import { chmodSync, renameSync, writeFileSync } from 'node:fs';

/**
 * Written beside and renamed: a reader never sees half a file. From the first byte nobody may do more with it than the mode says, and under
 * its name no less: the umask of the process would close what others are to read.
 */
export function replaceFile(file: string, content: string, mode: number): void {
  const beside = `${file}.${process.pid}.new`;
  writeFileSync(beside, content, { mode });
  chmodSync(beside, mode);
  renameSync(beside, file);
}
