import type { SettingPath } from './config-errors.ts';
import type { Finding } from './shape-errors.ts';

/** `${NAME}` of shells, `$(NAME)` of Kubernetes, `{{ name }}` of templates, and `~/` or `$NAME` where a text or path begins. */
const placeholder = /\$\{[A-Za-z_][^{}]*\}|\$\([A-Za-z_]\w*\)|\{\{[^{}]*\}\}|^\$[A-Z_][A-Z0-9_]*(?:\/|$)|^~\//;

const message = 'looks like a placeholder, and is taken as it stands: nothing fills it in.';

/**
 * Texts of a configuration that look like placeholders, in the order of the file. Nothing is put in their place: a token service would
 * be shown the name of a variable as client id, and say no more than that it does not know the client.
 * @param value as `readDocument` gives it, which is not nested deeply.
 */
export function findPlaceholders(value: unknown, path: SettingPath = []): readonly Finding[] {
  if (typeof value === 'string') return placeholder.test(value) ? [{ path, message }] : [];
  if (typeof value !== 'object' || value === null) return [];
  const entries = Array.isArray(value) ? [...value.entries()] : Object.entries(value);
  return entries.flatMap(([key, inner]) => findPlaceholders(inner, [...path, key]));
}
