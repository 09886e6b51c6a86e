import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { findBreach, findRoom, knowledge, stages } from './import-law.ts';
import { listFiles, readImports, readSource, root, type Import } from './sources.ts';

const files = ['proxy', 'config', 'loadtest', 'test'].flatMap(listFiles).filter((path) => /\.[tj]s$/.test(path));

/** A class that others can load, or that has no private field, is no evidence: evidence is made in its own file only. */
function isCollaborator(file: string, name: string): boolean {
  const text = readSource(file);
  return (
    new RegExp(`^export (abstract )?class ${name}\\b`, 'm').test(text) ||
    findClass(text, name)?.includes('  readonly #') === false
  );
}

/** The class that a file exports as the type `name`, under its own or another name. */
function findClass(text: string, name: string): string | undefined {
  const alias = new RegExp(`export type \\{[^}]*?\\b(\\w+) as ${name}\\b`).exec(text)?.[1];
  const renamed = new RegExp(`export type ${name} = (\\w+);`).exec(text)?.[1];
  return new RegExp(`^(?:abstract )?class ${alias ?? renamed ?? name}\\b[^{]*\\{[\\s\\S]*?^\\}`, 'm').exec(text)?.[0];
}

test('every import of the program follows the import law', () => {
  const breaches = files
    .flatMap((path) => readImports(path))
    .flatMap((found) => {
      const breach = findBreach(found, isCollaborator);
      return breach === undefined ? [] : [`${found.from} -> ${found.to}: ${breach}`];
    });
  expect(breaches).toEqual([]);
});

test('every folder of proxy/ is a room that the law knows', () => {
  const rooms = readdirSync(join(root, 'proxy'), { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const known = [...stages, ...knowledge, 'cli', 'steward', 'embedded'];
  expect(rooms.map((entry) => entry.name).filter((name) => !known.includes(name))).toEqual([]);
});

test('relative imports name files that are there, with their ending', () => {
  const missing = files
    .flatMap((path) => readImports(path))
    .filter(({ to }) => findRoom(to) !== undefined || to.startsWith('config/'))
    .filter(({ to }) => !files.includes(to) && !files.includes(to.replace(/\.ts$/, '.d.ts')));
  expect(missing.map(({ from, to }) => `${from} -> ${to}`)).toEqual([]);
});

const cases: readonly (readonly [string, string, string, string | undefined])[] = [
  ['proxy/bind/proof.ts', "import { a } from '../tasks/task.ts'", 'knowledge', undefined],
  ['proxy/bind/proof.ts', "import type {\n  Evidence,\n} from '../exchange/credential.ts'", 'evidence', undefined],
  ['proxy/bind/proof.ts', "import type { Desk } from '../exchange/desk.ts'", 'a collaborator', 'no evidence'],
  ['proxy/bind/proof.ts', "import { Evidence } from '../exchange/credential.ts'", 'a value', 'import type'],
  ['proxy/bind/proof.ts', "import { type Evidence } from '../exchange/credential.ts'", 'inline type', 'import type'],
  ['proxy/bind/proof.ts', "import type { Evidence } from '../forward/upstream.ts'", 'a later stage', 'comes after'],
  ['proxy/bind/proof.ts', "export { a } from '../egress.ts'", 'upwards', 'stands above'],
  ['proxy/bind/proof.ts', "const a = await import('../sidecar.ts')", 'upwards, late', 'stands above'],
  ['proxy/bind/proof.ts', "import '../embedded/token-service.ts'", 'the embedded parts', 'cli/ and tests'],
  ['proxy/bind/proof.ts', "import type { A } from '../../config/tools.ts'", 'a config type', undefined],
  ['proxy/bind/proof.ts', "import { A } from '../../config/tools.ts'", 'a config value', 'types of the config only'],
  ['proxy/steward/api.ts', "import type { A } from '../way-out.ts'", 'wiring', 'stands above'],
  ['proxy/decide/engines/cel.ts', "import { A } from '../permit.ts'", 'its own room', undefined],
  ['proxy/tasks/task.ts', "import { A } from '../proofs/dpop.ts'", 'knowledge of knowledge', undefined],
  ['proxy/tasks/task.ts', "import type { Evidence } from '../bind/proof.ts'", 'a stage', 'stands above'],
  ['proxy/spiffe/api.ts', "import { Refusal } from '../refusal.ts'", 'the project', 'nothing of the project'],
  ['proxy/embedded/service.ts', "import { a } from '../trust/jwks.ts'", 'knowledge', undefined],
  ['proxy/embedded/service.ts', "import { a } from '../exchange/a.ts'", 'a stage', 'knowledge, world and refusal'],
  ['proxy/sidecar.ts', "import { a } from './way-out.ts'", 'wiring', undefined],
  ['proxy/way-out.ts', "import { a } from './open-record.ts'", 'other wiring', undefined],
  ['proxy/egress.ts', "import { a } from './way-out.ts'", 'wiring', 'stands above'],
  ['proxy/way-out.ts', "import { a } from '../config/load.ts'", 'a config value', undefined],
  ['proxy/egress.ts', "import { a } from '../config/load.ts'", 'a config value', 'types of the config only'],
  ['proxy/egress.ts', "import { a } from './bind/proof.ts'", 'a room', undefined],
  ['proxy/cli/demo.ts', "import { a } from '../embedded/service.ts'", 'the embedded parts', undefined],
  ['config/tools.ts', "import type { A } from '../proxy/world.ts'", 'the program', 'nothing but config'],
  ['proxy/bind/proof.ts', "import { a } from '../../test/fakes/tool.ts'", 'a test', 'imports test/'],
  ['loadtest/run.ts', "import { a } from '../proxy/embedded/service.ts'", 'a test of its own kind', undefined],
  ['proxy/bind/proof.ts', "// import { a } from '../egress.ts'\n/*\nimport '../egress.ts'\n*/", 'nothing', undefined],
];

test.each(cases)('the law on %s, %s (%s): %s', (from, statement, _what, expected) => {
  const found: Import[] = readImports(from, statement);
  const breach = found.map((one) => findBreach(one, (_file, name) => name === 'Desk')).find((one) => one !== undefined);
  if (expected === undefined) expect(breach).toBeUndefined();
  else expect(breach).toContain(expected);
});
