import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { listFiles, root } from '../repo/sources.ts';

/** How a command in the project ended. */
export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The package as `npm pack` makes it of a clone, and an empty project elsewhere that installs it. */
export class PackedPackage {
  readonly project: string;
  /** Paths in the tarball, without `package/`. */
  readonly files: readonly string[];
  /** Text of package.json in the clone after packing. */
  readonly manifestAfter: string;
  /** The same of its README. */
  readonly readmeAfter: string;
  readonly #folder: string;
  readonly #tarball: string;

  /** Packs. Throws with what npm said where it fails. */
  constructor() {
    this.#folder = mkdtempSync(join(tmpdir(), 'waybill-package-'));
    const clone = join(this.#folder, 'clone');
    // A copy: packing writes, and other tests read the repository at the same time.
    for (const path of listFiles()) cpSync(join(root, path), join(clone, path));
    symlinkSync(join(root, 'node_modules'), join(clone, 'node_modules'));
    const packed = this.#npm(clone, 'pack', '--json', '--pack-destination', this.#folder);
    if (packed.code !== 0) throw new Error(`npm pack: ${packed.stderr}`);
    const told = JSON.parse(packed.stdout.slice(packed.stdout.search(/^[[{]/m))) as unknown;
    const [description] = (Array.isArray(told) ? told : Object.values(told as object)) as [Description];
    this.files = description.files.map(({ path }) => path);
    this.#tarball = join(this.#folder, description.filename);
    this.manifestAfter = readFileSync(join(clone, 'package.json'), 'utf8');
    this.readmeAfter = readFileSync(join(clone, 'README.md'), 'utf8');
    this.project = join(this.#folder, 'project');
    mkdirSync(this.project);
    writeFileSync(join(this.project, 'package.json'), '{ "private": true, "type": "module" }\n');
  }

  /** Text of a file in the tarball. */
  read(path: string): string {
    return spawnSync('tar', ['-xzOf', this.#tarball, `package/${path}`], { encoding: 'utf8' }).stdout;
  }

  /** Installs it with its dependencies from the registry. Returns what npm said where that fails, else undefined. */
  install(): string | undefined {
    const installed = this.#npm(this.project, 'install', '--no-audit', '--no-fund', this.#tarball);
    return installed.code === 0 && existsSync(join(this.project, 'node_modules', 'waybill'))
      ? undefined
      : installed.stderr.trim().split('\n').slice(0, 3).join(' ');
  }

  /** Runs a command in the project, with a Node.js that stands first in its PATH. */
  run(node: string, program: string, ...args: readonly string[]): Ended {
    return runIn(this.project, dirname(node), program, args);
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #npm(folder: string, ...args: readonly string[]): Ended {
    return runIn(folder, dirname(process.execPath), 'npm', args);
  }
}

/** Of what `npm pack --json` says. */
interface Description {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

/** Without the programs of this repository, and without what npm tells those that it starts. */
function runIn(cwd: string, first: string, program: string, args: readonly string[]): Ended {
  const path = (process.env['PATH'] ?? '').split(delimiter).filter((entry) => !entry.startsWith(root));
  // Where npm finds its registry stays; where `npm run` stood does not.
  const own = Object.entries(process.env).filter(
    ([name]) => !/^(npm_(?!config_)|npm_config_local_prefix$|VITEST|NODE_(?!EXTRA_CA)|WAYBILL_)/i.test(name),
  );
  const env = { ...Object.fromEntries(own), PATH: [first, ...path].join(delimiter) };
  const { status, stdout, stderr } = spawnSync(program, args, { cwd, env, encoding: 'utf8', timeout: 180_000 });
  return { code: status, stdout, stderr };
}
