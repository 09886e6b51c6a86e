import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readSource, root } from './sources.ts';

const page = 'ARCHITECTURE.md';

/**
 * Names in the tables of one section (`## Refusals`): what stands between backticks in the first cell of each row, one name or
 * several, without labels (`requests_total{way}`) and without the prefix of our metrics.
 */
function readNames(heading: string): string[] {
  const lines = readSource(page).split('\n');
  const start = lines.findIndex((line) => line.startsWith('## ') && line.includes(heading));
  if (start < 0) throw new Error(`${page} has no section "## ${heading}"`);
  const length = lines.slice(start + 1).findIndex((line) => line.startsWith('## '));
  const section = lines.slice(start + 1, length < 0 ? undefined : start + 1 + length);
  const cells = section.filter((line) => line.startsWith('|')).map((line) => line.split('|')[1] ?? '');
  const names = cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name));
  return names.map(normalize);
}

function normalize(name: string): string {
  return name.replace(/\{.*\}$/, '').replace(/^waybill_/, '');
}

/** What the program itself exports. Loaded when the test runs, so that a missing file fails one test with its name. */
async function load(path: string): Promise<Record<string, unknown>> {
  if (!existsSync(join(root, path))) throw new Error(`${path} is missing`);
  return (await import(join(root, path))) as Record<string, unknown>;
}

async function loadNames(path: string, name: string): Promise<string[]> {
  const list = (await load(path))[name];
  if (!Array.isArray(list) || list.length === 0) throw new Error(`${path} does not export the list ${name}`);
  return list.map(String);
}

test('the table of refusals lists exactly the catalogue', async () => {
  const { refusalKinds } = await load('proxy/refusal.ts');
  const codes = Object.keys(refusalKinds as Record<string, unknown>);
  expect(readNames('Refusals').toSorted()).toEqual(codes.toSorted());
});

test('the table of metrics lists exactly what is exported', async () => {
  const metrics = await loadNames('proxy/record/metrics.ts', 'metricNames');
  expect(readNames('Metrics').toSorted()).toEqual(metrics.map(normalize).toSorted());
});

test('the table of events lists exactly what is written', async () => {
  const events = await loadNames('proxy/record/event.ts', 'eventNames');
  expect(readNames('Events').toSorted()).toEqual(events.toSorted());
});
