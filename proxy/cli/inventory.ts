import { writeFileSync } from 'node:fs';
import { CommandFailure, exitCodes, parseArguments, type Command } from './command.ts';
import { inventoryPage } from './inventory-page.ts';
import { inventoryRows, toCsv, type InventoryRow } from './inventory-rows.ts';
import { callOperator, OperatorRefusal } from './operator-client.ts';
import { connection, findSidecar } from './sidecar-place.ts';
import { formatTable } from './table.ts';

/** `waybill inventory`: what a running sidecar holds. */
export const inventory: Command = {
  usage: `Usage: waybill inventory [--json | --csv] [--html FILE]

Lists what a running sidecar holds at this moment: the agent's identity, the tokens and static keys of its tools, and the open
tasks; each with its owner, purpose, scopes, binding level, times, and how it is revoked. Never a secret: tokens and keys are told apart by
the first 16 hex digits of their SHA-256.

  --json        the answer of the API
  --csv         one table with all columns, for spreadsheets
  --html FILE   a page for reading and printing, written to FILE, which must not be there yet

Where the sidecar is: --config FILE (its operator.socket), --socket PATH, or --url URL with --token-file FILE (role reader);
default: ./waybill.yaml, else the default socket. Exit code 69 if no sidecar answers.
`,
  async run(invocation) {
    const { values } = parseArguments({
      args: [...invocation.args],
      options: { ...connection, csv: { type: 'boolean', default: false }, html: { type: 'string' } },
    });
    if (values.json && values.csv) throw new CommandFailure(exitCodes.usage, 'say --json or --csv');
    const { place } = findSidecar(values, invocation);
    try {
      const answer = await callOperator(place, 'GET', '/v1/inventory');
      const rows = inventoryRows(answer);
      if (values.html !== undefined) writePage(values.html, inventoryPage(rows, new Date().toISOString()));
      if (values.json) invocation.print(JSON.stringify(answer));
      else if (values.csv) for (const line of toCsv(rows)) invocation.print(line);
      else if (values.html === undefined) for (const line of overview(rows)) invocation.print(line);
      return exitCodes.ok;
    } catch (error) {
      if (values.json && error instanceof OperatorRefusal) invocation.print(error.body.trim());
      throw error;
    }
  },
};

/** For a terminal: one line each, with what tells things apart. */
function overview(rows: readonly InventoryRow[]): readonly string[] {
  const cells = rows.map((row) => [
    row.kind,
    row.id === '' ? row.task : row.id,
    row.tool,
    row.name,
    row.purpose,
    row.last_used,
    row.expires,
  ]);
  return formatTable([['KIND', 'ID', 'TOOL', 'NAME', 'PURPOSE', 'LAST USED', 'EXPIRES'], ...cells]);
}

/** It names users: readable by whoever asked for it only. */
function writePage(file: string, page: string): void {
  try {
    writeFileSync(file, page, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    throw new CommandFailure(exitCodes.usage, `--html: ${file} cannot be written (${code})`);
  }
}
