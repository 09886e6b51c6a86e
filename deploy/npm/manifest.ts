/**
 * `prepack` and `postpack` of package.json: while npm packs, the manifest is the one that users install.
 *
 * The pinned Node.js packages stay out of it. npm would link their binary into `node_modules/.bin` of every project that depends on
 * Waybill, 211 MB, and all its scripts would then run on our Node.js instead of their own.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..', '..');
const manifest = join(root, 'package.json');
/** Where the manifest of the repository waits; no pattern of `files` takes it along. */
const kept = join(root, 'dist', 'package.repository.json');
/** What only a clone needs. */
const ofClone = ['scripts', 'devDependencies', 'optionalDependencies'];

const [step] = process.argv.slice(2);
// Also before packing: a run that was killed left the smaller one behind.
if (existsSync(kept)) renameSync(kept, manifest);
if (step === 'publish') publish();
else if (step !== 'restore') throw new Error('usage: node deploy/npm/manifest.ts publish | restore');

function publish(): void {
  const text = readFileSync(manifest, 'utf8');
  const whole: unknown = JSON.parse(text);
  const published = Object.fromEntries(Object.entries(whole ?? {}).filter(([name]) => !ofClone.includes(name)));
  mkdirSync(join(root, 'dist'), { recursive: true });
  // A rename, so that at no moment neither is there.
  writeFileSync(kept, text);
  writeFileSync(`${manifest}.new`, `${JSON.stringify(published, null, 2)}\n`);
  renameSync(`${manifest}.new`, manifest);
}
