import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { listUnsafe } from '../../config/unsafe.ts';
import { findWarnings } from '../../config/warnings.ts';
import { loadConfigFile } from '../../proxy/cli/config-file.ts';

const config = join(import.meta.dirname, '../../config');
const examples = readdirSync(join(config, 'examples'));

test('there is one of everything, and one in front of a tool', () => {
  expect(examples.toSorted()).toEqual(['in-front-of-a-tool.yaml', 'waybill.yaml']);
});

test.each(examples)(
  '%s is what `waybill validate` and the JSON schema call good, without a warning or an unsafe setting',
  (name) => {
    const file = join(config, 'examples', name);
    const { config: loaded, rules } = loadConfigFile(file, { uid: 0, env: {} });
    expect(findWarnings(loaded.settings)).toEqual([]);
    expect(rules.warnings).toEqual([]);
    expect(listUnsafe(loaded.settings)).toEqual([]);
    const schema = z.fromJSONSchema(JSON.parse(readFileSync(join(config, 'waybill.schema.json'), 'utf8')));
    expect(schema.safeParse(parse(readFileSync(file, 'utf8'))).error).toBeUndefined();
  },
);

test('the tool of the example sees the token, and only after its caller and its path were proved', () => {
  const { inbound } = loadConfigFile(join(config, 'examples', 'in-front-of-a-tool.yaml'), { uid: 0, env: {} }).config
    .settings;
  expect(inbound).toMatchObject({
    program: 'tool',
    present: 'original',
    accept: [{ proof: 'dpop' }],
    chain: { require: true },
    tls: 'svid',
  });
  expect(inbound?.callers?.length).toBeGreaterThan(0);
});
