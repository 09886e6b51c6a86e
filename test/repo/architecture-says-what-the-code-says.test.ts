import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Metrics } from '../../proxy/record/metrics.ts';
import { refusalKinds } from '../../proxy/refusal-kinds.ts';
import { type RefusalKind } from '../../proxy/refusal.ts';
import { stages } from './import-law.ts';
import { readSource, root } from './sources.ts';
import { readCode, readRows } from './tables.ts';

const page = 'ARCHITECTURE.md';

/** The two codes whose status depends on the door, or on the way. */
const statusByDoor: Readonly<Record<string, string>> = { task_unknown: '401, 407', authority_mismatch: '400, 421' };

/** Both ways: section of the page, file of the one function, and what its stages take. */
const ways = [
  ['The way of a call', 'egress', 'call|arrival|attributed|permit|routed|credential|bound|admitted'],
  ['The way in of a request', 'ingress', 'call|arrival|verified|claimed|permit|opened|presented|admitted'],
] as const;

describe(`the tables of ${page} say what the code says`, () => {
  test('refusals: status, stage, meaning and hint of each', () => {
    const kinds: [string, RefusalKind][] = Object.entries(refusalKinds);
    const wanted = kinds.map(([code, { status, stage, title, hint, replay }]) => [
      `\`${code}\``,
      statusByDoor[code] ?? String(status),
      stage,
      replay === undefined ? title : `${title} (replay, ${replay})`,
      hint,
    ]);
    expect(readRows(page, 'Refusals')).toEqual(wanted);
  });

  test('metrics: name, labels and meaning of each', () => {
    const nothing = { tools: [], services: [], rules: [], unsafe: [], program: undefined };
    const sources = {
      version: '',
      tasksOpen: () => 0,
      ledgerEntries: () => 0,
      svidLife: () => undefined,
      credentialExpiries: () => [],
      events: () => ({ written: 0, sequence: 0, lost: 0, copiesLost: 0 }),
    };
    const { registry } = new Metrics(sources, nothing);
    const metrics = registry.getMetricsAsArray() as unknown as { name: string; help: string; labelNames: string[] }[];
    const wanted = metrics.map(({ name, help, labelNames }) => {
      const labels = labelNames.length === 0 ? '' : `{${labelNames.join(',')}}`;
      return `\`${name}${labels}\` | ${help}`;
    });
    const rows = readRows(page, 'Metrics').map((row) => row.join(' | '));
    expect(rows.toSorted()).toEqual(wanted.toSorted());
  });

  test.each(ways)(
    '%s: the stages in the order of %s.ts, each with the evidence of its file',
    (heading, name, taken) => {
      const rows = readRows(page, heading).map((row) => row.slice(0, 3).map((cell) => readCode(cell)[0] ?? ''));
      const body = new RegExp(`^(?:export )?async function ${name}\\([\\s\\S]*?^\\}`, 'm');
      const way = body.exec(readSource(`proxy/${name}.ts`))?.[0] ?? '';
      const called = [...way.matchAll(new RegExp(`\\b(\\w+)\\((?=${taken})`, 'g'))];
      expect(rows.length).toBeGreaterThan(6);
      const order = called.map(([, verb = '']) => verb).filter((verb) => rows.some(([stage]) => stage === verb));
      expect(rows.map(([stage]) => stage)).toEqual(order);
      for (const [stage, evidence, file] of rows) {
        const text = readSource(file ?? '');
        expect(text, `${file} exports ${evidence}`).toMatch(new RegExp(`^export type ${evidence}\\b`, 'm'));
        expect(text, `${file} has ${stage}`).toMatch(new RegExp(`\\b${stage}\\(`));
      }
    },
  );

  test('rooms: every file and folder of proxy/, and the stages in their order', () => {
    const named = readRows(page, 'Rooms').flatMap(([names = '']) => readCode(names));
    const entries = readdirSync(join(root, 'proxy'), { withFileTypes: true });
    const there = entries.map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name));
    expect(named.toSorted()).toEqual(there.toSorted());
    const rooms = named.map((name) => name.replace('/', '')).filter((name) => stages.includes(name));
    expect(rooms).toEqual(stages.filter((stage) => rooms.includes(stage)));
  });

  test('promises: the tests that they name are there and name them', () => {
    for (const [promise = '', , tests = ''] of readRows(page, 'Promises')) {
      const files = readCode(tests).map((name) => `test/promises/${name}.test.ts`);
      if (tests !== 'later') expect(files.length, `${promise} names a test`).toBeGreaterThan(0);
      for (const file of files) {
        expect(existsSync(join(root, file)), `${promise}: ${file}`).toBe(true);
        expect(readSource(file), `${file} names ${promise}`).toMatch(new RegExp(`['"\`].*\\b${promise}\\b`));
      }
    }
  });

  test('limits: each is the number of the constant that it names', () => {
    const rows = readRows(page, 'Limits');
    expect(rows.length).toBeGreaterThan(20);
    const said = rows.map(([what, bound = '']) => `${what}: ${readAmount(bound)}`);
    const true_ = rows.map(([what, , where = '']) => {
      const [file = '', name = ''] = readCode(where);
      return `${what}: ${readConstant(file, name)}`;
    });
    expect(said).toEqual(true_);
  });
});

const units: Readonly<Record<string, number>> = { '': 1, KiB: 1024, MiB: 1024 * 1024, ms: 1, s: 1000 };

/** `64 KiB` in bytes, `5 s` in milliseconds, `20,000` as it is. */
function readAmount(text: string): number {
  const [, digits = '', unit = ''] = /^([\d,]+)(?: (\w+))?$/.exec(text) ?? [];
  return Number(digits.replaceAll(',', '')) * (units[unit] ?? Number.NaN);
}

/** A constant or an option of a number, or of a product of numbers; seconds as milliseconds. */
function readConstant(file: string, name: string): number {
  const text = new RegExp(`\\b${name}(?: =|:) ([\\d_* ]+)`).exec(readSource(file))?.[1] ?? '';
  const value = text
    .replaceAll('_', '')
    .split('*')
    .map(Number)
    .reduce((product, factor) => product * factor, 1);
  return name.endsWith('Seconds') ? value * 1000 : value;
}
