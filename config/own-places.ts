import { realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { SettingPath } from './config-errors.ts';
import type { Paths } from './paths.ts';
import type { Finding } from './shape-errors.ts';
import type { Written } from './written.ts';

/** A file or folder of ours, and the setting that names it. */
interface OwnPlace {
  readonly setting: SettingPath;
  readonly at: string;
  /** Whether the setting is written; otherwise this is its default. */
  readonly isWritten: boolean;
}

/**
 * Our files are each one of their own, and none of them lies in the folder that the agent reads.
 * @param paths with the defaults filled in; without them, what is written is compared with itself only.
 * @param realOf gives paths that lead to one place one form.
 */
export function checkOwnPlaces(
  written: Written,
  paths: Paths | undefined,
  realOf: (path: string) => string,
): readonly Finding[] {
  const place = (setting: SettingPath, byDefault?: string): readonly OwnPlace[] => {
    const named = written.text(setting);
    const at = named ?? byDefault;
    return at === undefined ? [] : [{ setting, at: realOf(at), isWritten: named !== undefined }];
  };
  const publish = place(['ca', 'publish'], paths?.caPublish);
  const dir = place(['ca', 'dir'], paths?.caDir);
  const files = [
    ...place(['operator', 'socket'], paths?.operatorSocket),
    ...place(['record', 'file'], paths?.recordFile),
    ...place(['operator', 'revocations'], paths?.revocationsFile),
    ...written.names(['operator', 'tokens']).flatMap((role) => place(['operator', 'tokens', role])),
  ];
  return [...findShown(publish, dir, files), ...findShared(publish, dir, files)];
}

/** What the agent could read: the key of the CA makes it any server, a socket or token an operator. */
function findShown(
  [publish]: readonly OwnPlace[],
  dirs: readonly OwnPlace[],
  files: readonly OwnPlace[],
): readonly Finding[] {
  if (publish === undefined) return [];
  const folder = asFolder(publish.at);
  const shown = [...dirs, ...files].filter(({ at }) => asFolder(at).startsWith(folder));
  return shown.map(({ setting, at, isWritten }) => {
    const name = setting.join('.');
    if (name === 'ca.dir' && publish.isWritten)
      return {
        path: publish.setting,
        message: `must be another folder than \`ca.dir\`${isWritten ? '' : ` (${at})`}: the agent reads it, and must not read the key of the CA`,
      };
    return isWritten
      ? { path: setting, message: `must not be in \`ca.publish\` (${publish.at}): the agent reads that folder` }
      : { path: publish.setting, message: `must not hold \`${name}\` (${at}): the agent reads this folder` };
  });
}

/** Two that are one file: the one would be written over, or taken for, the other. */
function findShared(
  publish: readonly OwnPlace[],
  dirs: readonly OwnPlace[],
  files: readonly OwnPlace[],
): readonly Finding[] {
  const inFolders = [
    ...dirs.flatMap((dir) => ['ca.key', 'ca.pem'].map((name) => ({ ...dir, at: join(dir.at, name) }))),
    ...publish.flatMap((folder) => ['ca.pem', 'bundle.pem'].map((name) => ({ ...folder, at: join(folder.at, name) }))),
  ];
  // Written beside the revocations, and put in their place.
  const parts = files
    .filter(({ setting }) => setting.at(-1) === 'revocations')
    .map((file) => ({ ...file, at: `${file.at}.part` }));
  const all = [...inFolders, ...files, ...parts];
  return all.flatMap((one, index) => {
    const other = all.slice(0, index).find(({ at, setting }) => at === one.at && setting !== one.setting);
    if (other === undefined) return [];
    // Reported where a person can change it.
    const [here, there] = one.isWritten ? [one, other] : [other, one];
    const bothRoles = [here, there].every(({ setting }) => setting[1] === 'tokens');
    const message = bothRoles
      ? `is the file of role \`${String(there.setting[2])}\` too; every role has a token of its own`
      : `is a file of \`${there.setting.join('.')}\` (${there.at}) too; name another`;
    return [{ path: here.setting, message }];
  });
}

/** Where a path leads once all links are followed, whether or not its end is there yet: `/var/run` is `/run` on most systems. */
export function followLinks(path: string): string {
  const whole = resolve(path);
  try {
    return realpathSync(whole);
  } catch {
    const folder = dirname(whole);
    return folder === whole ? whole : join(followLinks(folder), basename(whole));
  }
}

/** With a final slash, so that `/run/ca2` is not taken for a folder in `/run/ca`. */
const asFolder = (path: string): string => (path.endsWith('/') ? path : `${path}/`);
