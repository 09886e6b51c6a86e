import type { Settings } from '../../config/settings.ts';

/** Risks from harmless to grave, as the configuration lists them. */
const risks = ['read', 'write', 'deploy', 'payment', 'export'];

/** What a task of a purpose may use. `unknown` and `outside` say why it may not be opened at all. */
export type Allowance =
  | { readonly kind: 'allowed'; readonly tools: ReadonlySet<string> }
  | { readonly kind: 'unknown_tool'; readonly tool: string }
  | { readonly kind: 'unknown_purpose' }
  | { readonly kind: 'outside'; readonly tool: string };

/**
 * The tools of a task: those asked for (all, where none are named) within what its purpose allows at most. Where the configuration
 * lists purposes, a task has one of them.
 */
export function allowTools(settings: Settings, purpose: string, asked: readonly string[] | undefined): Allowance {
  const unknown = asked?.find((name) => !settings.tools.has(name));
  if (unknown !== undefined) return { kind: 'unknown_tool', tool: unknown };
  if (settings.purposes.size === 0) return { kind: 'allowed', tools: new Set(asked ?? settings.tools.keys()) };
  const limits = settings.purposes.get(purpose);
  if (limits === undefined) return { kind: 'unknown_purpose' };
  const allowed = limits.tools.filter((name) => !isRiskier(settings.tools.get(name)?.risk, limits.risk));
  const outside = asked?.find((name) => !allowed.includes(name));
  return outside === undefined
    ? { kind: 'allowed', tools: new Set(asked ?? allowed) }
    : { kind: 'outside', tool: outside };
}

/** Whether a task may more than its purpose allows under these settings. Tools that are not there any more are no matter. */
export function exceeds(
  task: { readonly purpose: string; readonly tools: ReadonlySet<string> },
  settings: Settings,
): boolean {
  const known = [...task.tools].filter((name) => settings.tools.has(name));
  return known.length > 0 && allowTools(settings, task.purpose, known).kind !== 'allowed';
}

/** Whether a risk is graver than the limit; none is as grave as can be. */
export function isRiskier(risk: string | undefined, limit: string | undefined): boolean {
  return limit !== undefined && risks.indexOf(risk ?? 'export') > risks.indexOf(limit);
}
