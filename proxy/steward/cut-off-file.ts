import { closeSync, fsyncSync, lstatSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import type { Revocations } from '../tasks/cut-offs.ts';
import { tokenOf } from '../tasks/principals.ts';

/** Far above what as many cut-offs as may be take. */
const maxFileBytes = 67_108_864;

const text = z.string().max(4096);
const named = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('token'), iss: text, jti_hash: text }),
  z.strictObject({ kind: z.literal('subject'), iss: text, sub: text }),
  z.strictObject({ kind: z.literal('agent'), id: text }),
  z.strictObject({ kind: z.literal('tool'), name: text }),
  z.strictObject({ kind: z.literal('all') }),
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
    parsed = saved.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    throw unreadable(file);
  }
  return {
    cutOffs: parsed.cut_offs.map(({ principal, before }) => ({ principal, beforeMs: Date.parse(before) })),
    txns: parsed.tasks.map(({ txn, at }) => ({ txn, atMs: Date.parse(at) })),
  };
}

/** Puts the revocations in place of the file as a whole: a process that is killed meanwhile leaves the old one. Throws the system's error. */
export function writeCutOffs(file: string, { cutOffs, txns }: Revocations): void {
  const content = {
    version: 1,
    cut_offs: cutOffs.map(({ principal, beforeMs }) => ({ principal, before: new Date(beforeMs).toISOString() })),
    tasks: txns.map(({ txn, atMs }) => ({ txn, at: new Date(atMs).toISOString() })),
  };
  const folder = dirname(file);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const part = `${file}.part`;
  writeWhole(part, Buffer.from(`${JSON.stringify(content)}\n`));
  renameSync(part, file);
  // The new name is on disk only when its folder is.
  syncFile(openSync(folder, 'r'));
}

function writeWhole(file: string, bytes: Buffer): void {
  const fd = openSync(file, 'w', 0o600);
  let written = 0;
  try {
    while (written < bytes.length) written += writeSync(fd, bytes, written);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  syncFile(fd);
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
    `${file} holds whom this sidecar must not serve any more, and cannot be read; restore it, or remove it to lift all revocations`,
  );
}
