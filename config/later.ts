import type { SettingPath } from './config-errors.ts';

/** Settings of the design that this version does not have yet; `*` stands for any name. They get an answer of their own. */
const laterKeys: ReadonlySet<string> = new Set([
  'inbound',
  'replay',
  'identity.svid_dir',
  'identity.kubernetes',
  'identity.embedded',
  'tools.*.chain',
  'tools.*.delegate',
  'tools.*.token.scopes_by_tool',
  'tools.*.token.once',
  'tools.*.tls.spiffe_id',
  'tasks.trace_rung',
  'tasks.unsafe_assume_sole_task',
  'listen.inbound',
]);

const laterValues: ReadonlySet<string> = new Set([
  'tools.*.match.protocol=mcp',
  'token_services.*.verify=response-only',
]);

/** Tables whose own keys are names that a person chooses. */
const named: ReadonlySet<string> = new Set(['tools', 'token_services', 'purposes']);

/** Whether a key is part of the design and of a later version. */
export function isLaterKey(path: SettingPath): boolean {
  return laterKeys.has(patternOf(path));
}

/** Whether a value is part of the design and of a later version, at a key that exists already. */
export function isLaterValue(path: SettingPath, value: unknown): boolean {
  return typeof value === 'string' && laterValues.has(`${patternOf(path)}=${value}`);
}

function patternOf(path: SettingPath): string {
  return path.map((step, index) => (index === 1 && named.has(String(path[0])) ? '*' : step)).join('.');
}
