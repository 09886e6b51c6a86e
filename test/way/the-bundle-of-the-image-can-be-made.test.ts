import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root } from '../repo/sources.ts';

/** The image itself needs programs that few machines have; what goes into it is made, and started, everywhere. */
test('the bundle is made of what the sources import now, and starts', () => {
  const folder = mkdtempSync(join(tmpdir(), 'waybill-bundle-'));
  try {
    const run = (...args: string[]) =>
      spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8', timeout: 60_000 });
    const built = run(join('deploy', 'image', 'bundle.ts'), folder);
    expect([built.status, built.stderr]).toEqual([0, '']);
    const version = run(join(folder, 'main.js'), '--version');
    expect([version.status, version.stdout]).toEqual([0, expect.stringMatching(/\d+\.\d+\.\d+/)]);
    const example = join('config', 'examples', 'waybill.yaml');
    expect(run(join(folder, 'main.js'), 'validate', '--config', example).stdout).toContain('waybill.yaml');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
