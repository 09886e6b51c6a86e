import type { SettingPath } from './config-errors.ts';

/** Settings of the design that this version does not have yet; `*` stands for any name. They get an answer of their own. */
const laterKeys: ReadonlySet<string> = new Set([
  'identity.embedded',
  'tools.*.token.scopes_by_tool',
  'tools.*.token.once',
  'tasks.unsafe_assume_sole_task',
  'replay.nonce_key_file',
]);

const laterValues: ReadonlySet<string> = new Set([
  'replay.ledger=valkey',
  'replay.on_replay=end-task',
  'tools.*.match.protocol=mcp',
]);

/** Tables whose own keys are names that a person chooses. */
const named: ReadonlySet<string> = new Set(['tools', 'token_services', 'purposes']);

/** Whether a key is part of the design and of a later version. */
export function isLaterKey(path: SettingPath): boolean {
  return laterKeys.has(patternOf(path));
}

/** The name of a value that is part of the design and of a later version, at a key that exists already; else undefined. */
export function laterValue(path: SettingPath, value: unknown): string | undefined {
  if (typeof value !== 'string') return undefined;
  // Of `valkey://user:password@host` the scheme alone is the name, and the rest must not be repeated.
  const name = value.replace(/:\/\/.*$/s, '');
  return laterValues.has(`${patternOf(path)}=${name}`) ? name : undefined;
}

function patternOf(path: SettingPath): string {
  return path.map((step, index) => (index === 1 && named.has(String(path[0])) ? '*' : step)).join('.');
}
