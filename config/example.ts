import { Document, isMap, isScalar, isSeq } from 'yaml';
import { settingsJsonSchema } from './schema-tree.ts';

/** The example configuration, `config/examples/waybill.yaml`: the examples of all tables, joined. */
export function renderExample(): string {
  const tables = Object.entries(settingsJsonSchema().properties ?? {}).filter(
    ([, node]) => node.examples !== undefined,
  );
  const document = new Document(Object.fromEntries(tables.map(([key, node]) => [key, node.examples?.[0]])));
  const contents = document.contents;
  if (!isMap(contents)) return '';
  for (const [index, pair] of contents.items.entries()) {
    const { key, value } = pair;
    if (!isScalar(key)) continue;
    key.spaceBefore = index > 0;
    key.commentBefore = ` ${tables[index]?.[1].description ?? ''}`;
    flattenLists(value);
  }
  document.commentBefore = head;
  return document.toString({ lineWidth: 0, singleQuote: true, flowCollectionPadding: false });
}

const head = ` yaml-language-server: $schema=../waybill.schema.json
 Generated from the tables in config/ by \`npm run docs\`. Every key is explained in config/settings.md.`;

/** Short lists are written in one line: `[GET, POST]`. */
function flattenLists(node: unknown): void {
  if (isSeq(node)) {
    if (node.items.every(isScalar)) node.flow = true;
    else node.items.forEach(flattenLists);
  }
  if (isMap(node)) for (const { value } of node.items) flattenLists(value);
}
