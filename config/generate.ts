import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { renderExample } from './example.ts';
import { settingsJsonSchema } from './schema-tree.ts';
import { renderSettingsPage } from './settings-page.ts';

/** The files that are made from the settings tables: path from the repository's root, and text. A test compares them with what is there. */
export function renderGenerated(): ReadonlyMap<string, string> {
  return new Map([
    ['config/settings.md', renderSettingsPage()],
    ['config/waybill.schema.json', `${JSON.stringify(settingsJsonSchema(), undefined, 2)}\n`],
    ['config/examples/waybill.yaml', renderExample()],
  ]);
}

if (import.meta.main) {
  const root = join(import.meta.dirname, '..');
  for (const [path, text] of renderGenerated()) {
    writeFileSync(join(root, path), text);
    process.stdout.write(`wrote ${path}\n`);
  }
}
