import { asObject, type JsonObject } from './json-object.ts';
import { printable } from './table.ts';

/** Columns of the inventory as people and spreadsheets see it; what does not apply to a thing is empty. */
export const inventoryColumns = [
  'kind',
  'name',
  'id',
  'tool',
  'service',
  'subject',
  'issuer',
  'caller',
  'owner',
  'purpose',
  'scopes',
  'binding',
  'task',
  'issued',
  'last_used',
  'last_rotated',
  'expires',
  'revoke',
] as const;

/** One thing of the inventory. */
export type InventoryRow = Readonly<Record<(typeof inventoryColumns)[number], string>>;

/** The answer of `GET /v1/inventory` as rows: agents, credentials, tasks, in that order. */
export function inventoryRows(answer: JsonObject): readonly InventoryRow[] {
  const list = (name: string): readonly JsonObject[] => {
    const members = answer[name];
    return Array.isArray(members) ? members.map(asObject) : [];
  };
  return [
    ...list('agents').map((agent) => rowOf(agent, { kind: 'agent', ...agentCells(agent) })),
    ...list('credentials').map((credential) => rowOf(credential, credentialCells(credential))),
    ...list('tasks').map((task) => rowOf(task, { kind: 'task', ...taskCells(task) })),
  ];
}

function agentCells({ name, spiffe_id: id, svid_expires_at: expires }: JsonObject): Partial<InventoryRow> {
  return { name: textOf(name), id: textOf(id), expires: textOf(expires) };
}

function credentialCells({ kind, files, id, txn, issued_at: issued }: JsonObject): Partial<InventoryRow> {
  return { kind: textOf(kind), name: textOf(files), id: textOf(id), task: textOf(txn), issued: textOf(issued) };
}

function taskCells({ txn, subject, opened_at: opened, tools }: JsonObject): Partial<InventoryRow> {
  const { iss, sub } = asObject(subject);
  return {
    name: textOf(sub),
    subject: textOf(sub),
    issuer: textOf(iss),
    task: textOf(txn),
    issued: textOf(opened),
    tool: textOf(tools),
  };
}

/** What all things name alike, and what is particular to one kind. */
function rowOf(thing: JsonObject, own: Partial<InventoryRow>): InventoryRow {
  return {
    kind: '',
    name: '',
    id: '',
    tool: textOf(thing['tool']),
    service: textOf(thing['service']),
    subject: '',
    issuer: '',
    caller: textOf(thing['caller']),
    owner: textOf(thing['owner']),
    purpose: textOf(thing['purpose']),
    scopes: textOf(thing['scopes']),
    binding: textOf(thing['binding']),
    task: '',
    issued: '',
    last_used: textOf(thing['last_used_at']),
    last_rotated: textOf(thing['last_rotated_at']),
    expires: textOf(thing['expires_at']),
    revoke: textOf(thing['revoke']),
    ...own,
  };
}

/** Subjects and purposes are named by others: they must not speak to a terminal. */
function textOf(value: unknown): string {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  const text = list.filter((member) => typeof member === 'string').join(' ');
  return printable(text);
}

/** RFC 4180. A cell that a spreadsheet would take for a formula gets an apostrophe in front: a subject may be called anything. */
export function toCsv(rows: readonly InventoryRow[]): readonly string[] {
  return [inventoryColumns.join(','), ...rows.map((row) => inventoryColumns.map((name) => cell(row[name])).join(','))];
}

function cell(text: string): string {
  const tame = /^[=+\-@]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(tame) ? `"${tame.replaceAll('"', '""')}"` : tame;
}
