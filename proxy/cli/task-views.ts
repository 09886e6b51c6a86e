import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { agentEnvironment, exportLine } from './agent-environment.ts';
import type { Invocation } from './command.ts';
import { formatTable } from './table.ts';

/** An answer of the operator's API. */
type Answer = Readonly<Record<string, unknown>>;

/** Prints what makes a shell work in an opened task, on standard output alone, and says what that is. */
export function showOpened(opened: Answer, trustFolder: string, { print, tell }: Invocation): void {
  const isTrusted = existsSync(join(trustFolder, 'ca.pem'));
  const proxy = textOf(opened['proxy']);
  const handles = objectOf(opened['handles']);
  print(
    exportLine({
      ...agentEnvironment({ proxy, trustFolder: isTrusted ? trustFolder : undefined }),
      ...Object.fromEntries(Object.entries(handles).map(([tool, handle]) => [variableOf(tool), String(handle)])),
    }),
  );
  const subject = objectOf(opened['subject']);
  tell(`# Task ${String(opened['txn'])} for ${String(subject['sub'])} (${String(subject['iss'])})`);
  tell(`# ${purposeOf(opened)}, tools: ${listOf(opened['tools'])}, until ${String(opened['expires_at'])}`);
  tell(
    proxy === undefined
      ? '# Each WAYBILL_HANDLE_… is good at its own tool alone: send it as "Authorization: Bearer", or as the password of the proxy URL.'
      : '# The handle in the proxy URL stands for the task. It is worthless at any other place and when the task has ended.',
  );
  if (!isTrusted)
    tell(`# No certificate of the sidecar's CA is in ${trustFolder}: calls to https tools will not trust it.`);
}

/** Prints tasks as a table, the open ones first. */
export function showTasks(answer: Answer, { print, tell }: Invocation): void {
  const listed = Array.isArray(answer['tasks']) ? answer['tasks'].map(objectOf) : [];
  const rows = listed.map((task) => [
    String(task['txn']),
    String(task['state']),
    String(objectOf(task['subject'])['sub']),
    String(task['purpose']),
    listOf(task['tools']),
    textOf(task['ended_at'] ?? task['expires_at']) ?? 'no end',
  ]);
  if (rows.length === 0) tell('no tasks');
  else for (const row of formatTable([['TXN', 'STATE', 'SUBJECT', 'PURPOSE', 'TOOLS', 'UNTIL'], ...rows])) print(row);
}

function variableOf(tool: string): string {
  return `WAYBILL_HANDLE_${tool.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_')}`;
}

function purposeOf(task: Answer): string {
  return task['purpose'] === '' ? 'no purpose' : `purpose: ${String(task['purpose'])}`;
}

function listOf(value: unknown): string {
  return Array.isArray(value) ? value.map(String).join(', ') : '';
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function objectOf(value: unknown): Answer {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}
