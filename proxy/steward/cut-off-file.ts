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

/** Far above what as many cut-offs as may be take. */
const maxFileBytes = 67_108_864;
/** After so long a file that was begun is nobody's any more; milliseconds. */
const leftOverMs = 1000;
const pauseMs = 5;

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
export function writeCutOffs(file: string, revocations: Revocations, nowMs: number): void {
  const folder = dirname(file);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const part = `${file}.part`;
  const fd = openPart(part, nowMs);
  try {
    // Only now: what another one writes from here on waits for us.
    writeWhole(fd, Buffer.from(`${JSON.stringify(contentOf(joined(readCutOffs(file), revocations), nowMs))}\n`));
    renameSync(part, file);
  } catch (error) {
    rmSync(part, { force: true });
    throw error;
  }
  // The new name is on disk only when its folder is.
  syncFile(openSync(folder, 'r'));
}

/** Within the bounds of what a sidecar keeps, and of each the later time. */
function joined(there: Revocations, here: Revocations): CutOffs {
  const txns = [...there.txns, ...here.txns].toSorted((a, b) => a.atMs - b.atMs);
  // Whose agent an entry stops is not known here, and who forgets it would let that agent in again.
  return new CutOffs(undefined, { cutOffs: [...there.cutOffs, ...here.cutOffs], txns }, new Freshness(() => 0, always));
}

function contentOf(all: CutOffs, nowMs: number): object {
  return {
    version: 1,
    cut_offs: all.list().map(({ principal, beforeMs }) => ({ principal, before: new Date(beforeMs).toISOString() })),
    tasks: all.txns.list(nowMs).map(({ txn, atMs }) => ({ txn, at: new Date(atMs).toISOString() })),
  };
}

/** The file that is written first also says that somebody writes: whoever comes meanwhile has to see what he adds. */
function openPart(part: string, nowMs: number): number {
  for (let waitedMs = 0; ; waitedMs += pauseMs) {
    try {
      return openSync(part, 'wx', 0o600);
    } catch (error) {
      const found = lstatSync(part, { throwIfNoEntry: false });
      if (found?.isFile() === false || !isTaken(error)) throw error;
      // Writing takes some milliseconds: what has been there for long was left by a process that was killed.
      if (found === undefined) continue;
      if (waitedMs >= leftOverMs || Math.abs(nowMs - found.mtimeMs) > leftOverMs) rmSync(part, { force: true });
      else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pauseMs);
    }
  }
}

function isTaken(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EEXIST';
}

function writeWhole(fd: number, bytes: Buffer): void {
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
