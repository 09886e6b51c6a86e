import { constants } from 'node:fs';
import { open, readdir, stat, type FileHandle } from 'node:fs/promises';
import { dirname, join, parse } from 'node:path';
import type { WrittenFile } from '../record/written-files.ts';

/** A file of the record, open for reading. */
export interface FoundFile {
  readonly file: WrittenFile;
  readonly handle: FileHandle;
}

/**
 * Opens `from`, or the first behind it that is there: at the path of the record, or beside it, where rotation gave it another name
 * (`events.jsonl.1`, `events-20260301.jsonl`). Undefined where none is. A compressed one is another file.
 */
export async function findFile(path: string, from: WrittenFile): Promise<FoundFile | undefined> {
  // Where nothing was rotated, or once only, this is all.
  const handle = await openPlaced(path, from);
  if (handle !== undefined && !isTakenAgain(from)) return { file: from, handle };
  await handle?.close();
  const names = await namesBeside(path);
  for (let file: WrittenFile | undefined = from; file !== undefined; file = file.next) {
    const name = names.get(numberOf(file));
    const found = name === undefined || isTakenAgain(file) ? undefined : await openPlaced(name, file);
    if (found !== undefined) return { file, handle: found };
  }
  return undefined;
}

/** The number of a file that was removed is given to another: then it stands for the newest. */
function isTakenAgain(file: WrittenFile): boolean {
  for (let later = file.next; later !== undefined; later = later.next)
    if (later.ino === file.ino && later.dev === file.dev) return true;
  return false;
}

async function namesBeside(path: string): Promise<ReadonlyMap<string, string>> {
  const folder = dirname(path);
  const { name: stem } = parse(path);
  const entries = await readdir(folder).catch(() => []);
  const numbers = new Map<string, string>();
  for (const name of entries.filter((entry) => entry.startsWith(stem))) {
    const there = await stat(join(folder, name), { bigint: true }).catch(() => undefined);
    if (there?.isFile() === true) numbers.set(numberOf(there), join(folder, name));
  }
  return numbers;
}

const { O_RDONLY, O_NONBLOCK, O_NOCTTY } = constants;

/** Undefined where the name leads to another file by now. Never waits for the other end of a pipe. */
async function openPlaced(name: string, file: WrittenFile): Promise<FileHandle | undefined> {
  const handle = await open(name, O_RDONLY | O_NONBLOCK | O_NOCTTY).catch(() => undefined);
  const there = await handle?.stat({ bigint: true }).catch(() => undefined);
  if (there !== undefined && numberOf(there) === numberOf(file)) return handle;
  await handle?.close();
  return undefined;
}

function numberOf({ dev, ino }: { readonly dev: bigint; readonly ino: bigint }): string {
  return `${dev}:${ino}`;
}
