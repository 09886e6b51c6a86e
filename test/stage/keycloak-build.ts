import { cpSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { run } from '../real/programs.ts';
import { installPrograms } from './apt-programs.ts';
import { startKeycloakProcess } from './keycloak-process.ts';

/** The version of Maven Central, and what is built into it: all of this names the folder that is kept. */
const version = '26.7.3';
const features = 'spiffe';
const artifact = `org.keycloak:keycloak-quarkus-dist:${version}:zip`;

/** A Keycloak that is built and has an empty database, outside the clone; or why there is none. */
export type KeycloakBuild = { readonly folder: string } | { readonly missing: string };

/** Whatever only reads: a run shares it with the build. */
const shared = ['lib', 'conf', 'providers', 'themes'];

/** Finds the build that is kept between runs; else gets it by Maven, builds it and prepares its database, once. Says what it installs. */
export async function findKeycloakBuild(): Promise<KeycloakBuild> {
  const missing = installPrograms({ java: 'default-jre-headless', mvn: 'maven', unzip: 'unzip' });
  if (missing !== undefined) return { missing };
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'waybill-real');
  const folder = join(cache, `keycloak-${version}-${features}-seeded`);
  if (existsSync(folder)) return { folder };
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(join(cache, 'keycloak-building-'));
  try {
    const fault = await makeBuild(work);
    if (fault !== undefined) return { missing: `Keycloak ${version} cannot be had: ${fault}` };
    // Only a whole build gets the name. Another run may have been quicker; either of the two will do.
    if (!existsSync(folder)) renameSync(join(work, `keycloak-${version}`), folder);
    return { folder };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** A folder that runs a build with a database of its own: two runs must not share that. */
export function layOut(built: string, home: string): void {
  mkdirSync(join(home, 'data', 'import'), { recursive: true });
  // The script finds its folder by its own real path, so it is no link.
  cpSync(join(built, 'bin'), join(home, 'bin'), { recursive: true });
  for (const name of shared) symlinkSync(join(built, name), join(home, name));
  const database = join(built, 'data', 'h2');
  if (existsSync(database)) cpSync(database, join(home, 'data', 'h2'), { recursive: true });
}

/** Returns what went wrong. */
async function makeBuild(work: string): Promise<string | undefined> {
  console.log(`gets ${artifact} with mvn, and builds it with the features ${features}`);
  const quiet = ['-B', '-q'];
  const steps: readonly (readonly [program: string, ...args: string[]])[] = [
    ['mvn', ...quiet, 'dependency:get', `-Dartifact=${artifact}`, '-Dtransitive=false'],
    ['mvn', ...quiet, '-o', 'dependency:copy', `-Dartifact=${artifact}`, `-DoutputDirectory=${work}`],
    ['unzip', '-q', `keycloak-quarkus-dist-${version}.zip`],
    [join(work, `keycloak-${version}`, 'bin', 'kc.sh'), ...buildArguments],
  ];
  for (const [program, ...args] of steps) {
    const { status, stdout, stderr } = await run(program, args, { cwd: work, timeoutMs: 600_000 });
    if (status !== 0) return `${program} ended with ${status}: ${(stdout.toString() + stderr).trim().slice(-500)}`;
  }
  return seed(work);
}

const buildArguments = ['build', '--db=dev-file', '--health-enabled=true', `--features=${features}`];

/** Starts it once without a realm: the tables of an empty database take longer than all the rest of a start. */
async function seed(work: string): Promise<string | undefined> {
  const home = join(work, 'first-run');
  const built = join(work, `keycloak-${version}`);
  layOut(built, home);
  try {
    const keycloak = await startKeycloakProcess(home);
    await keycloak.stop();
  } catch (error) {
    return String(error);
  }
  cpSync(join(home, 'data', 'h2'), join(built, 'data', 'h2'), { recursive: true });
  return undefined;
}
