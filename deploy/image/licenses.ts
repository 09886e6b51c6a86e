import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Of a package.json. */
interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly license: string;
}

/** Reads the three from the package.json of a folder; what is not there is `unknown`. */
export function readManifest(folder: string): Manifest {
  const whole: unknown = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const entries = new Map<string, unknown>(Object.entries(whole ?? {}));
  const text = (key: string): string => {
    const value = entries.get(key);
    return typeof value === 'string' ? value : 'unknown';
  };
  return { name: text('name'), version: text('version'), license: text('license') };
}

/**
 * Name, version and license of each package that has a file in a bundle, with the text that most licenses ask to hand on.
 * @param inputs paths of the bundle's sources, relative to `root`.
 */
export function describeLicenses(root: string, inputs: readonly string[]): string {
  const packages = inputs.flatMap((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path) ?? []);
  const parts = [...new Set(packages)].toSorted().map((path) => {
    const { name, version, license } = readManifest(join(root, path));
    const file = readdirSync(join(root, path)).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file === undefined ? '' : readFileSync(join(root, path, file), 'utf8');
    return `${name} ${version} (${license})\n\n${text.trim()}\n`;
  });
  return parts.join(`\n${'-'.repeat(80)}\n\n`);
}
