import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { CutOffs, type Revocations } from '../tasks/cut-offs.ts';
import { always, Freshness } from '../tasks/freshness.ts';
import { tokenOf } from '../tasks/principals.ts';
import { takeLock } from './file-lock.ts';

/** Far above what as many cut-offs as may be take. */
const maxFileBytes = 67_108_864;
/** How often a file is written anew that somebody else replaced meanwhile. */
const maxTries = 5;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const text = z.string().max(4096);
const named = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('token'), iss: text, jti_hash: text }),
  z.strictObject({ kind: z.literal('subject'), iss: text, sub: text }),
  z.strictObject({ kind: z.literal('agent'), id: text }),
  z.strictObject({ kind: z.literal('tool'), name: text }),
  z.strictObject({ kind: z.literal(['all', 'forgotten']) }),
]);
/** As tokens were written before. */
const formerToken = z
  .strictObject({ kind: z.literal('token'), iss: text, jti: text })
  .transform(({ iss, jti }) => tokenOf(iss, jti));
const saved = z.strictObject({
  version: z.literal(1),
  cut_offs: z.array(z.strictObject({ principal: z.union([named, formerToken]), before: z.iso.datetime() })),
  tasks: z.array(z.strictObject({ txn: text, at: z.iso.datetime() })).default([]),
});

/**
 * Reads the revocations of earlier runs; none where there is no file.
 * @throws Error with a sentence for the operator where it cannot be read: a sidecar that forgets whom it must not serve does not start.
 */
export function readCutOffs(file: string): Revocations {
  const found = lstatSync(file, { throwIfNoEntry: false });
  if (found === undefined) return { cutOffs: [], txns: [] };
  if (!found.isFile() || found.size > maxFileBytes) throw unreadable(file);
  let parsed: z.output<typeof saved>;
  try {
    // A damaged name would be that of somebody else, and its owner served again.
    parsed = saved.parse(JSON.parse(utf8.decode(readFileSync(file))));
  } catch {
    throw unreadable(file);
  }
  return {
    cutOffs: parsed.cut_offs.map(({ principal, before }) => ({ principal, beforeMs: Date.parse(before) })),
    txns: parsed.tasks.map(({ txn, at }) => ({ txn, atMs: Date.parse(at) })),
  };
}

/**
 * Adds revocations to those of the file, which it replaces as a whole: a process that is killed meanwhile leaves the old one. What is there
 * stays, for another sidecar may have written it: two in one folder would lift each other's revocations.
 * @throws the system's error, or as `readCutOffs` does.
 */
export function writeCutOffs(file: string, revocations: Revocations): void {
  const folder = dirname(file);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  // Only behind the lock is it read: what another one writes from then on waits for us, or finds that we have lost it.
  for (let left = maxTries; !replace(file, revocations); left -= 1)
    if (left === 0) throw new Error(`others write ${file} all the time`);
  // The new name is on disk only when its folder is.
  syncFile(openSync(folder, 'r'));
}

/** Whether it was written; not where somebody took our lock for that of a process that was killed: he may have read it before. */
function replace(file: string, revocations: Revocations): boolean {
  const lock = takeLock(`${file}.part`);
  // A name of its own: whoever loses the lock never puts half a file in the place of the whole.
  const part = `${file}.${randomBytes(8).toString('hex')}.part`;
  try {
    writeWhole(part, Buffer.from(`${JSON.stringify(contentOf(joined(readCutOffs(file), revocations)))}\n`));
    if (!lock.isOurs()) return false;
    renameSync(part, file);
    return true;
  } finally {
    rmSync(part, { force: true });
    lock.release();
  }
}

/** Within the bounds of what a sidecar keeps, and of each the later time. */
function joined(there: Revocations, here: Revocations): CutOffs {
  const txns = [...there.txns, ...here.txns].toSorted((a, b) => a.atMs - b.atMs);
  // Whose agent an entry stops is not known here, and who forgets it would let that agent in again.
  return new CutOffs(undefined, { cutOffs: [...there.cutOffs, ...here.cutOffs], txns }, new Freshness(() => 0, always));
}

function contentOf(all: CutOffs): object {
  return {
    version: 1,
    cut_offs: all.list().map(({ principal, beforeMs }) => ({ principal, before: new Date(beforeMs).toISOString() })),
    tasks: all.txns.list().map(({ txn, atMs }) => ({ txn, at: new Date(atMs).toISOString() })),
  };
}

function writeWhole(part: string, bytes: Buffer): void {
  const fd = openSync(part, 'wx', 0o600);
  try {
    for (let written = 0; written < bytes.length;) written += writeSync(fd, bytes, written);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function syncFile(fd: number): void {
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function unreadable(file: string): Error {
  return new Error(
    `${file} cannot be read as the file of \`operator.revocations\`, which holds whom this sidecar must not serve any more; restore it from a copy, or name another file there, which begins without any revocation`,
  );
}
