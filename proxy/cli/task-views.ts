import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { agentEnvironmentOver, exportLine } from './agent-environment.ts';
import type { Invocation } from './command.ts';
import { asObject, type JsonObject } from './json-object.ts';
import type { Sidecar } from './sidecar-place.ts';
import { formatTable, printable } from './table.ts';

/** Prints what makes a shell work in an opened task, on standard output alone, and says what that is. */
export function showOpened(
  opened: JsonObject,
  { trustFolder, trustFault }: Pick<Sidecar, 'trustFolder' | 'trustFault'>,
  { print, tell, surroundings }: Invocation,
): void {
  // A variable that names a missing file makes curl and Python fail at every https call.
  const isTrusted = trustFault === undefined && existsSync(join(trustFolder, 'ca.pem'));
  const proxy = textOf(opened['proxy']);
  const handles = asObject(opened['handles']);
  const variables = nameVariables(Object.keys(handles));
  print(
    exportLine({
      ...agentEnvironmentOver(surroundings.env, { proxy, trustFolder: isTrusted ? trustFolder : undefined }),
      ...Object.fromEntries([...variables].map(([name, tool]) => [name, String(handles[tool])])),
    }),
  );
  const subject = asObject(opened['subject']);
  // On standard error, as a comment: neither eval nor a copied block is harmed by it.
  tell(`# Task ${String(opened['txn'])} for ${printable(subject['sub'])} (${printable(subject['iss'])})`);
  tell(`# ${purposeOf(opened)}, tools: ${listOf(opened['tools'])}, until ${String(opened['expires_at'])}`);
  tell(
    '# The handle in the proxy URL stands for the task. It is worthless at any other place and when the task has ended.',
  );
  if (Object.keys(handles).length > 0) {
    tell('# Each WAYBILL_HANDLE_… is good at its own tool alone: put it in the place of the one in the proxy URL.');
  }
  for (const [name, tool] of variables) if (name !== variableOf(tool)) tell(`# ${name} is that of ${tool}.`);
  if (isTrusted) return;
  const why = trustFault ?? `No certificate of the sidecar's CA is in ${trustFolder}`;
  tell(`# ${why}: calls to https tools will not trust it.`);
}

/** Prints tasks as a table, the open ones first. */
export function showTasks(answer: JsonObject, { print, tell }: Invocation): void {
  // The order of the API: open tasks first.
  const listed = Array.isArray(answer['tasks']) ? answer['tasks'].map(asObject) : [];
  const rows = listed.map((task) => [
    String(task['txn']),
    String(task['state']),
    printable(asObject(task['subject'])['sub']),
    printable(task['purpose']),
    listOf(task['tools']),
    textOf(task['ended_at'] ?? task['expires_at']) ?? 'no end',
  ]);
  if (rows.length === 0) tell('no tasks');
  else for (const row of formatTable([['TXN', 'STATE', 'SUBJECT', 'PURPOSE', 'TOOLS', 'UNTIL'], ...rows])) print(row);
}

/** A variable for each tool: numbered where another tool's has the same name, since a handle that is not printed is lost. */
function nameVariables(tools: readonly string[]): ReadonlyMap<string, string> {
  const plain = new Set(tools.map(variableOf));
  const named = new Map<string, string>();
  for (const tool of tools) {
    const first = variableOf(tool);
    let name = first;
    // Never a name that is that of another tool without a number.
    for (let number = 2; named.has(name) || (name !== first && plain.has(name)); number++) name = `${first}_${number}`;
    named.set(name, tool);
  }
  return named;
}

/** `WAYBILL_HANDLE_CRM` for `crm`: letters, digits and underscores are what a shell takes. */
function variableOf(tool: string): string {
  return `WAYBILL_HANDLE_${tool.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_')}`;
}

/** A task may have no purpose where the configuration lists none. */
function purposeOf(task: JsonObject): string {
  return task['purpose'] === '' ? 'no purpose' : `purpose: ${printable(task['purpose'])}`;
}

/** Names as a sentence has them. */
function listOf(value: unknown): string {
  return Array.isArray(value) ? value.map(String).join(', ') : '';
}

/** The API leaves members out that do not apply. */
function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
