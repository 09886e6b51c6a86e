/**
 * `prepack` and `postpack` of package.json: while npm packs, the manifest and the pages are those that users install.
 *
 * The pinned Node.js packages stay out of it. npm would link their binary into `node_modules/.bin` of every project that depends on
 * Waybill, 211 MB, and all its scripts would then run on our Node.js instead of their own. What pages say of files that the package does not
 * hold stays as text, since a link would lead nowhere.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

const root = join(import.meta.dirname, '..', '..');
const manifest = join(root, 'package.json');
/** Where the manifest of the repository waits; no pattern of `files` takes it along. */
const kept = join(root, 'dist', 'package.repository.json');
/** What only a clone needs. */
const ofClone = ['scripts', 'devDependencies', 'optionalDependencies'];

const [step] = process.argv.slice(2);
// Also before packing: a run that was killed left the smaller one behind.
if (existsSync(kept)) renameSync(kept, manifest);
const files = listFiles(JSON.parse(readFileSync(manifest, 'utf8')));
const pages = ['README.md', ...files.filter((name) => name.endsWith('.md'))];
for (const page of pages) if (existsSync(keptPage(page))) renameSync(keptPage(page), join(root, page));
if (step === 'publish') publish();
else if (step !== 'restore') throw new Error('usage: node deploy/npm/manifest.ts publish | restore');

function listFiles(whole: object): readonly string[] {
  const named: unknown = 'files' in whole ? whole.files : [];
  return Array.isArray(named) ? named.filter((name) => typeof name === 'string') : [];
}

function publish(): void {
  const text = readFileSync(manifest, 'utf8');
  const whole: unknown = JSON.parse(text);
  const published = Object.fromEntries(Object.entries(whole ?? {}).filter(([name]) => !ofClone.includes(name)));
  mkdirSync(join(root, 'dist'), { recursive: true });
  // A rename, so that at no moment neither is there.
  writeFileSync(kept, text);
  writeFileSync(`${manifest}.new`, `${JSON.stringify(published, null, 2)}\n`);
  renameSync(`${manifest}.new`, manifest);
  for (const page of pages) publishPage(page);
}

function publishPage(page: string): void {
  const text = readFileSync(join(root, page), 'utf8');
  const isHeld = (link: string): boolean => {
    const path = normalize(join(dirname(page), link.replace(/#.*$/, '')));
    return [...pages, 'LICENSE', ...files].some((held) => path === held || path.startsWith(`${held}/`));
  };
  const shown = text.replaceAll(/\[([^\]]+)\]\(([^()\s]+)\)/g, (whole, words: string, link: string) =>
    /^(?:[a-z]+:|#)/.test(link) || isHeld(link) ? whole : words,
  );
  writeFileSync(keptPage(page), text);
  writeFileSync(join(root, `${page}.new`), shown);
  renameSync(join(root, `${page}.new`), join(root, page));
}

function keptPage(page: string): string {
  return join(root, 'dist', `${page.replaceAll('/', '-')}.repository`);
}
