import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';

/** The folder of the repository. */
export const root = join(import.meta.dirname, '..', '..');

const unpublished = new Set(['.git', '.cache', 'coverage', 'dist', 'node_modules']);

/** Paths of the files below `folder`, relative to the repository, with `/`; folders that are never published are left out. */
export function listFiles(folder: string = ''): string[] {
  if (!existsSync(join(root, folder))) return [];
  const found: string[] = [];
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    const path = posix.join(folder, entry.name);
    // By name alone: in a second work tree `.git` is a file, and `node_modules` may be a link.
    if (unpublished.has(entry.name)) continue;
    if (entry.isDirectory()) found.push(...listFiles(path));
    else if (!entry.name.endsWith('.log')) found.push(path);
  }
  return found;
}

/** Text of a file of the repository. A file that is not there yet is named in the error. */
export function readSource(path: string): string {
  if (!existsSync(join(root, path))) throw new Error(`${path} is missing`);
  return readFileSync(join(root, path), 'utf8');
}

/** One import, re-export or `import()` of a file. */
export interface Import {
  /** The importing file. */
  readonly from: string;
  /** A path of the repository for relative imports, else the package's name. */
  readonly to: string;
  /** `import type` or `export type`: gone when the program runs. `import { type X }` is not: it still loads the file. */
  readonly typeOnly: boolean;
  /** Names between braces as the other file exports them; empty for all others. */
  readonly names: readonly string[];
}

const statement =
  /^(?:import|export)\s+(type\s+)?(?:[\w$]+\s*,?\s*)?(?:\{([^}]*)\}|\*(?:\s+as\s+[\w$]+)?)?\s*from\s*['"]([^'"]+)['"]/gm;
const bare = /^import\s*['"]([^'"]+)['"]/gm;
const dynamic = /\bimport\(\s*['"]([^'"]+)['"]\s*\)/g;

/** The imports of a TypeScript file. Statements begin at the start of a line, which the formatter sees to. */
export function readImports(from: string, text: string = readSource(from)): Import[] {
  const code = text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/^\s*\/\/.*$/gm, '');
  const resolve = (to: string) => (to.startsWith('.') ? posix.join(dirname(from), to) : to);
  const found: Import[] = [];
  for (const [, type, braces = '', to = ''] of code.matchAll(statement)) {
    const names = braces.split(',').map((name) =>
      name
        .trim()
        .replace(/^type\s+/, '')
        .replace(/\s+as\s[\s\S]*/, ''),
    );
    found.push({ from, to: resolve(to), typeOnly: type !== undefined, names: names.filter((name) => name !== '') });
  }
  for (const pattern of [bare, dynamic]) {
    for (const [, to = ''] of code.matchAll(pattern)) found.push({ from, to: resolve(to), typeOnly: false, names: [] });
  }
  return found;
}
