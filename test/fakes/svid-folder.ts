import { createPrivateKey } from 'node:crypto';
import { mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Authority } from '../../proxy/embedded/authority.ts';
import { pem } from './bundle-endpoint.ts';

/** Texts of files by their names. */
export type Files = Readonly<Record<string, string>>;

/** An SVID as three texts. */
export async function issueTexts(authority: Authority, spiffeId: string, ttlSeconds = 60) {
  const { chainDer, keyDer } = await authority.issueX509(spiffeId, ttlSeconds);
  const key = createPrivateKey({ key: keyDer, format: 'der', type: 'pkcs8' });
  return {
    certificate: pem(chainDer),
    key: key.export({ type: 'pkcs8', format: 'pem' }),
    sec1: key.export({ type: 'sec1', format: 'pem' }),
    bundle: authority.bundle().x509Pem,
  };
}

/** Writes files one after the other, in place, as spiffe-helper does. */
export async function writeInPlace(folder: string, files: Files): Promise<void> {
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text, { mode: 0o600 });
}

let generation = 0;

/** Exchanges all files at once, by the link `..data`, as Kubernetes does. */
export async function swapData(folder: string, files: Files): Promise<void> {
  const version = `..v${(generation += 1)}`;
  await mkdir(join(folder, version), { recursive: true });
  await writeInPlace(join(folder, version), files);
  await symlink(version, join(folder, '..data_tmp'));
  await rename(join(folder, '..data_tmp'), join(folder, '..data'));
  for (const name of Object.keys(files)) {
    await symlink(join('..data', name), join(folder, name)).catch(() => undefined);
  }
}
