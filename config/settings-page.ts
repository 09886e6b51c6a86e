import { formatPath } from './config-errors.ts';
import { settledAtStart } from './restart.ts';
import { describeType, settingsJsonSchema, type SchemaNode } from './schema-tree.ts';

/** One line of a table. */
interface Row {
  readonly key: string;
  readonly node: SchemaNode;
  readonly required: boolean;
}

/** The page of all settings, `config/settings.md`: one table for each room, made from the same tables that parse. */
export function renderSettingsPage(): string {
  const root = settingsJsonSchema();
  const sections = Object.entries(root.properties ?? {}).map(([key, node]) =>
    renderSection(key, node, isRequired(root, key)),
  );
  return `${head}\n${sections.join('\n')}`;
}

const head = `# Settings of \`waybill.yaml\`

Generated from the tables in \`config/\` by \`npm run docs\`; change those and not this page.

An unknown key is an error. All errors are reported at once, with line and column, before anything listens.
Durations are a whole number and a unit: \`250ms\`, \`2s\`, \`5m\`, \`1h\`. Secrets are paths of files, never values;
relative paths start at the working directory of the process.
\`NAME\` is a name of your choice; \`[]\` is each entry of a list. \`<state>\` and \`<run>\` are \`/var/lib/waybill\` and \`/run/waybill\`
for root, else \`$XDG_STATE_HOME/waybill\` and \`$XDG_RUNTIME_DIR/waybill\`. Without these variables \`<state>\` is
\`~/.local/state/waybill\`, and \`<run>\` the private folder \`waybill-UID\` in the temporary folder (\`$TMPDIR\`, else that of the system).
Without \`HOME\` as well, as a service may be, \`<state>\` is \`waybill-UID/state\` in the temporary folder: a restart of the machine may
clear it, and the record and the revocations with it. The log warns of that at start.
What lowers safety is printed at start and sets the metric \`waybill_unsafe_settings\`. It has \`unsafe\` in its name or value, or is one of these:
\`cookies: pass\` of a tool with a credential, and \`listen.outbound\` or \`operator.listen\` (where \`tokens\` names a file) that is not on loopback.
A changed file is in force as soon as it is saved. A running sidecar refuses a file, as a whole, that changes what is
marked *Start only*, or that adds or removes \`inbound\`; restart it for these.
`;

function renderSection(key: string, node: SchemaNode, required: boolean): string {
  const rows = [...collectRows(key, node, required)].filter((row) => row.key !== key || node.properties === undefined);
  const lines = rows.map(renderRow);
  return `## ${key}

${markOf(key)}${node.description ?? ''}

| key | type | default | what |
|---|---|---|---|
${lines.join('\n')}
`;
}

const settled: ReadonlySet<string> = new Set(settledAtStart.map(formatPath));

/** Stands before what it says of a setting that takes effect at a start only. What is below a marked one is meant with it. */
function markOf(key: string): string {
  return settled.has(key) ? '*Start only.* ' : '';
}

/** A setting itself if it says what it is, then all below it. */
function* collectRows(key: string, node: SchemaNode, required: boolean): Generator<Row> {
  if (node.description !== undefined) yield { key, node, required };
  for (const form of [node, ...(node.anyOf ?? [])]) {
    for (const [name, child] of Object.entries(form.properties ?? {})) {
      yield* collectRows(`${key}.${name}`, child, isRequired(form, name));
    }
    if (typeof form.additionalProperties === 'object')
      yield* collectRows(`${key}.NAME`, form.additionalProperties, false);
    if (form.items !== undefined) yield* collectRows(`${key}[]`, form.items, false);
  }
}

/** Whether a person has to write it. */
function isRequired(node: SchemaNode, key: string): boolean {
  return node.required?.includes(key) === true;
}

/** Tables already show their example as a whole, in `config/examples`. */
function renderRow({ key, node, required }: Row): string {
  const example = node.examples?.[0];
  const shown = example === undefined || typeof node.title === 'string' ? '' : ` Example: \`${asFlow(example)}\`.`;
  const cells = [
    `\`${key}\``,
    describeType(node),
    renderDefault(node, required),
    `${markOf(key)}${node.description ?? ''}${shown}`,
  ];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

/** Defaults that depend on other settings are told in words. */
function renderDefault(node: SchemaNode, required: boolean): string {
  if (required) return '**required**';
  if (node['x-default'] !== undefined) return node['x-default'];
  if (node.default === undefined || node.default === '') return 'none';
  return typeof node.default === 'object' && Object.keys(node.default ?? {}).length === 0
    ? 'empty'
    : `\`${asFlow(node.default)}\``;
}

/** A value in one line, as one would write it in YAML. */
function asFlow(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(asFlow).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return String(value);
  const entries = Object.entries(value).map(([key, child]) => `${key}: ${asFlow(child)}`);
  return `{ ${entries.join(', ')} }`;
}
