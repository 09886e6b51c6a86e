import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { isThere, run } from '../real/programs.ts';

/** Programs that are built from the Go module proxy. */
export interface GoBuild {
  /** For people: `SPIRE 1.15.3`. */
  readonly name: string;
  /** Our module in `test/real/` that pins everything: go.mod, go.sum, and what else it is made of. */
  readonly module: string;
  /** What is built, each to a program of the name of its last part. */
  readonly packages: readonly string[];
  /** What it costs, for people. */
  readonly cost: string;
  readonly limitMs: number;
}

const flags = ['-trimpath', '-ldflags', '-s -w'];

/**
 * Builds programs once for each content of their module, and keeps them outside the clone. Says on the output what it builds. Returns the
 * folder of the programs, or why they cannot be had, for `context.skip`.
 */
export async function buildGo(build: GoBuild): Promise<{ folder: string } | { missing: string }> {
  const { name, packages, cost, limitMs } = build;
  const module = join(import.meta.dirname, '..', 'real', build.module);
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'waybill-real');
  const folder = join(cache, `${build.module}-${keyOf(module)}`);
  if (existsSync(folder)) return { folder };
  if (!(await isThere('go', 'version'))) return { missing: `${name} is built from source, and there is no go` };
  mkdirSync(cache, { recursive: true });
  // In a folder of its own and renamed at the end: a build that was stopped, or one beside it, leaves no half program.
  const building = mkdtempSync(join(cache, `${build.module}-building-`));
  console.log(`builds ${name} with go (${cost}): ${packages.join(' ')}`);
  const startedMs = performance.now();
  const env = { ...process.env, CGO_ENABLED: '1', GOFLAGS: '-buildvcs=false -mod=readonly' };
  const args = ['-n', '10', 'go', 'build', ...flags, '-o', `${building}/`, ...packages];
  const { status, stderr } = await run('nice', args, { cwd: module, env, timeoutMs: limitMs });
  if (status !== 0) {
    rmSync(building, { recursive: true, force: true });
    const lines = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('go: downloading'));
    return { missing: `${name} could not be built (go build: ${status}): ${lines.slice(-3).join(' | ')}` };
  }
  console.log(`built ${name} in ${Math.round((performance.now() - startedMs) / 1000)} s`);
  if (existsSync(folder)) rmSync(building, { recursive: true });
  else renameSync(building, folder);
  return { folder };
}

/** Everything that decides what the programs are: the files of the module, and how they are compiled. */
function keyOf(module: string): string {
  const hash = createHash('sha256').update(flags.join(' '));
  const files = readdirSync(module, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && /\.(?:go|mod|sum)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name));
  for (const file of files.toSorted()) hash.update(readFileSync(file));
  return hash.digest('hex').slice(0, 16);
}
