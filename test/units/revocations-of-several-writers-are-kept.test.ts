import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readCutOffs } from '../../proxy/steward/cut-off-file.ts';

const room = new URL('../../proxy/steward/cut-off-file.ts', import.meta.url).href;
/** Adds some subjects, one write for each, as one sidecar does. */
const writer = (file: string, name: string): string => `
  import { writeCutOffs } from ${JSON.stringify(room)};
  const cutOffs = [];
  for (let at = 0; at < 6; at += 1) {
    cutOffs.push({ principal: { kind: 'subject', iss: 'i', sub: ${JSON.stringify(name)} + at }, beforeMs: Date.now() });
    writeCutOffs(${JSON.stringify(file)}, { cutOffs, txns: [] });
  }`;

test('what six sidecars of one folder revoke at once is all kept, however long the file is', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'waybill-writers-'));
  const file = join(dir, 'revocations.json');
  const before = new Date(1e12).toISOString();
  const old = Array.from({ length: 3000 }, (_, at) => ({
    principal: { kind: 'subject', iss: 'i', sub: `old${at}` },
    before,
  }));
  const at = new Date().toISOString();
  const tasks = Array.from({ length: 16_000 }, (_, id) => ({ txn: `txn-${id}-0123456789abcdef0123456789`, at }));
  writeFileSync(file, JSON.stringify({ version: 1, cut_offs: old, tasks }));
  try {
    const names = ['a', 'b', 'c', 'd', 'e', 'f'];
    const codes = await Promise.all(
      names.map(async (name) => {
        const child = spawn(process.execPath, ['--input-type=module', '-e', writer(file, name)], { stdio: 'inherit' });
        return (await once(child, 'exit'))[0] as number;
      }),
    );
    expect(codes).toEqual(names.map(() => 0));
    const kept = new Set(readCutOffs(file).cutOffs.map(({ principal }) => ('sub' in principal ? principal.sub : '')));
    expect(
      names.flatMap((name) => [0, 1, 2, 3, 4, 5].map((id) => `${name}${id}`)).filter((sub) => !kept.has(sub)),
    ).toEqual([]);
    expect(readdirSync(dir)).toEqual(['revocations.json']);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}, 60_000);
