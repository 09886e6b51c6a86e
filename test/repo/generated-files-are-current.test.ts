import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { formatPath } from '../../config/config-errors.ts';
import { renderGenerated } from '../../config/generate.ts';
import { settledAtStart } from '../../config/restart.ts';
import { settingsJsonSchema, type SchemaNode } from '../../config/schema-tree.ts';
import { readSource } from './sources.ts';

test.each([...renderGenerated()])('%s is what `npm run docs` writes', (path, text) => {
  expect(readSource(path) === text, `${path} is old: run \`npm run docs\``).toBe(true);
});

test('every setting has a sentence and an example, and every table a sentence', () => {
  const bare = [...findSettings('', settingsJsonSchema())].filter(
    ({ node, table }) => !/[.`]$/.test(node.description ?? '') || (!table && node.examples === undefined),
  );
  expect(bare.map(({ key }) => key)).toEqual([]);
});

test('the page of settings marks those that take effect at a start only, and no others', () => {
  const marked = readSource('config/settings.md').matchAll(/^(?:## (.+)\n\n|\| `([^`]+)` \|.* \| )\*Start only\.\* /gm);
  const found = [...marked].map(([, section, setting]) => section ?? setting ?? '');
  expect([...new Set(found)].toSorted()).toEqual(settledAtStart.map(formatPath).toSorted());
});

test('the JSON schema accepts the example and refuses an unknown key', () => {
  const schema = z.fromJSONSchema(JSON.parse(readSource('config/waybill.schema.json')));
  const example = parse(readSource('config/examples/waybill.yaml'));
  expect(schema.safeParse(example).error).toBeUndefined();
  expect(schema.safeParse({ ...example, tool: {} }).success).toBe(false);
  expect(schema.safeParse({ ...example, tasks: { deadline: 15 } }).success).toBe(false);
});

/** All settings with a key of their own; `table` where it is made of other settings. */
function* findSettings(key: string, node: SchemaNode): Generator<{ key: string; node: SchemaNode; table: boolean }> {
  for (const form of [node, ...(node.anyOf ?? [])]) {
    for (const [name, child] of Object.entries(form.properties ?? {})) {
      const forms = [child, ...(child.anyOf ?? [])];
      const table = forms.some((inner) => inner.properties !== undefined || inner.items?.properties !== undefined);
      yield { key: `${key}.${name}`, node: child, table };
      yield* findSettings(`${key}.${name}`, child);
    }
    if (form.items !== undefined) yield* findSettings(`${key}[]`, form.items);
    if (typeof form.additionalProperties === 'object') yield* findSettings(`${key}.NAME`, form.additionalProperties);
  }
}
