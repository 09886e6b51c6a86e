import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

const apt = 'apt-get';

/** Debian packages by the program that is needed of each. */
export type Wanted = Readonly<Record<string, string>>;

/**
 * Sees that programs are there, and installs the packages of those that are not (apt, as root). Says on the output what it installs.
 * Returns why they cannot be had, for `context.skip`; undefined when all are there.
 */
export function installPrograms(wanted: Wanted): string | undefined {
  const packages = Object.keys(wanted).flatMap((program) => (findProgram(program) ? [] : (wanted[program] ?? [])));
  if (packages.length === 0) return undefined;
  const names = packages.join(', ');
  if (process.getuid?.() !== 0) return `${names} not installed, and only root can install`;
  if (!findProgram(apt)) return `${names} not installed, and there is no apt-get`;
  console.log(`installs with apt-get: ${names}`);
  const install = ['install', '-y', '--no-install-recommends', ...packages];
  if (!runApt(install) && !(runApt(['update']) && runApt(install))) return `apt-get could not install ${names}`;
  const missing = Object.keys(wanted).filter((program) => !findProgram(program));
  return missing.length === 0 ? undefined : `${missing.join(', ')} not in the packages of apt`;
}

function findProgram(name: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => isExecutable(join(folder, name)));
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function runApt(args: readonly string[]): boolean {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  return spawnSync(apt, args, { env, stdio: 'ignore', timeout: 120_000 }).status === 0;
}
