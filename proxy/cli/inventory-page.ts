import type { InventoryRow } from './inventory-rows.ts';

type Column = keyof InventoryRow;

/** Parts of the page: which rows, and which of their columns. */
const parts: readonly {
  readonly title: string;
  readonly kinds: readonly string[];
  readonly columns: readonly Column[];
}[] = [
  {
    title: 'Agents',
    kinds: ['agent'],
    columns: ['name', 'id', 'owner', 'purpose', 'last_rotated', 'expires', 'revoke'],
  },
  {
    title: 'Credentials',
    kinds: ['token', 'secret'],
    columns: [
      'kind',
      'tool',
      'service',
      'id',
      'name',
      'task',
      'owner',
      'purpose',
      'scopes',
      'binding',
      'issued',
      'last_used',
      'last_rotated',
      'expires',
      'revoke',
    ],
  },
  {
    title: 'Tasks',
    kinds: ['task'],
    columns: ['task', 'subject', 'issuer', 'caller', 'owner', 'purpose', 'tool', 'issued', 'expires', 'revoke'],
  },
];

const style =
  'body{font:14px/1.4 system-ui,sans-serif;margin:2rem;color:#1a1a1a;background:#fff}table{border-collapse:collapse;width:100%;margin-bottom:2rem}' +
  'th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #ddd;overflow-wrap:anywhere}th{background:#f4f4f4}' +
  'td:last-child{font-family:ui-monospace,monospace;font-size:12px}@media print{body{margin:0}}';

/**
 * The inventory as one page that needs nothing beside it: no script, nothing that is loaded, and all that came from elsewhere escaped.
 * @param takenAt RFC 3339.
 */
export function inventoryPage(rows: readonly InventoryRow[], takenAt: string): string {
  const tables = parts.map(({ title, kinds, columns }) => {
    const own = rows.filter(({ kind }) => kinds.includes(kind));
    const head = columns.map((name) => `<th scope="col">${name.replace('_', ' ')}</th>`).join('');
    const body = own.map((row) => `<tr>${columns.map((name) => `<td>${escape(row[name])}</td>`).join('')}</tr>`);
    return `<h2>${title} (${own.length})</h2>\n<table>\n<thead><tr>${head}</tr></thead>\n<tbody>\n${body.join('\n')}\n</tbody>\n</table>`;
  });
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Waybill inventory</title>
<style>${style}</style>
</head>
<body>
<h1>Waybill inventory</h1>
<p>Taken at ${escape(takenAt)} from one running sidecar. Tokens and keys are told apart by the first 16 hex digits of their SHA-256.</p>
${tables.join('\n')}
</body>
</html>
`;
}

function escape(text: string): string {
  return text.replaceAll(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
