import { findPackageJSON } from 'node:module';
import { dirname, join, relative } from 'node:path';

const isBuilt = import.meta.filename.endsWith('.js');
const root = dirname(findPackageJSON(import.meta.url) ?? '');

/** Where a file of the project is, as it is called from here: in a clone, or in a package that is installed below another project. */
export function placeOf(path: string): string {
  const whole = join(root, path);
  const near = relative(process.cwd(), whole);
  return near.startsWith('..') ? whole : near;
}

/** The same of a source, of which a package has the JavaScript. @param path of the TypeScript. */
export function sourceOf(path: string): string {
  return placeOf(isBuilt ? join('dist', path.replace(/\.ts$/, '.js')) : path);
}
