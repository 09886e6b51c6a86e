import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..', '..');

/**
 * Runs the lines of `proxy/spiffe/README.md` as they stand there, in a process of their own. `waybill/spiffe` is the entry of this clone.
 * @param address of the Workload API that they find in SPIFFE_ENDPOINT_SOCKET.
 * @returns what they printed, with times taken out, and the exit code.
 */
export async function runSpiffePage(address: string): Promise<{ said: string; code: number | null }> {
  const page = await readFile(join(root, 'proxy', 'spiffe', 'README.md'), 'utf8');
  const lines = /```js\n([\s\S]*?)```/.exec(page)?.[1] ?? '';
  const entry = JSON.stringify(join(root, 'proxy', 'spiffe', 'client.ts'));
  const project = await mkdtemp(join(tmpdir(), 'waybill-page-'));
  try {
    await symlink(join(root, 'node_modules'), join(project, 'node_modules'));
    await writeFile(join(project, 'example.mjs'), lines.replace("'waybill/spiffe'", entry));
    const child = spawn(process.execPath, [join(project, 'example.mjs')], {
      env: { ...process.env, SPIFFE_ENDPOINT_SOCKET: address },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let said = '';
    child.stdout.on('data', (text: Buffer) => (said += text.toString()));
    const code = await new Promise<number | null>((resolve) => {
      child.on('exit', resolve);
    });
    return { said: said.replaceAll(/\d{4}-[^\s]*Z/g, 'TIME'), code };
  } finally {
    await rm(project, { recursive: true });
  }
}
