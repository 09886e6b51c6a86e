import { isDeepStrictEqual } from 'node:util';
import { ConfigErrors, formatPath, type SettingPath } from './config-errors.ts';
import type { LoadedSettings } from './load.ts';

/** What is settled at the start: whose sidecar it is, where it listens and what it keeps. The page of settings marks the same. */
export const settledAtStart: readonly SettingPath[] = [
  ['agent'],
  ['identity'],
  ['trust', 'domains'],
  ['inbound', 'inert_alg'],
  ['inbound', 'tls'],
  ['inbound', 'unsafe_plaintext'],
  ['inbound', 'client_certificates'],
  ['tasks', 'max_open'],
  ['tasks', 'bind'],
  ['replay'],
  ['dns'],
  ['ca'],
  ['operator'],
  ['fleet'],
  ['signals'],
  ['listen'],
  ['record'],
];

/**
 * Checks that a running sidecar can take another configuration.
 * @throws ConfigErrors with every setting that is another and takes effect at a start only.
 */
export function checkReloadable(before: LoadedSettings, after: LoadedSettings): void {
  const changed = settledAtStart.filter(
    (path) => !isDeepStrictEqual(valueAt(before.settings, path), valueAt(after.settings, path)),
  );
  const hadInbound = before.settings.inbound !== undefined;
  const paths = hadInbound === (after.settings.inbound !== undefined) ? changed : [...changed, ['inbound']];
  if (paths.length === 0) return;
  const errors = paths.map((path) => ({
    ...after.locate(path),
    path: formatPath(path),
    message: 'has changed, and takes effect at a start only; restart the sidecar for it',
  }));
  throw new ConfigErrors(after.fileName, errors);
}

function valueAt(settings: object, path: SettingPath): unknown {
  return path.reduce<unknown>(
    (found, step) => (typeof found === 'object' && found !== null ? Reflect.get(found, step) : undefined),
    settings,
  );
}
