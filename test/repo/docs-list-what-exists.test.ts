import { expect, test } from 'vitest';
import { eventNames } from '../../proxy/record/event.ts';
import { metricNames } from '../../proxy/record/metrics.ts';
import { refusalKinds } from '../../proxy/refusal-kinds.ts';
import { readSource } from './sources.ts';

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

test('the table of refusals lists exactly the catalogue', () => {
  expect(readNames('Refusals').toSorted()).toEqual(Object.keys(refusalKinds).toSorted());
});

test('the table of metrics lists exactly what is exported', () => {
  expect(readNames('Metrics').toSorted()).toEqual(metricNames.map(normalize).toSorted());
});

test('the table of events lists exactly what is written', () => {
  expect(readNames('Events').toSorted()).toEqual(eventNames.toSorted());
});
