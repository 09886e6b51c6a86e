import { readFileSync } from 'node:fs';
import { verifyEvents, type RecordReport } from '../../proxy/record/verify-events.ts';

/** One event; members beside the common ones are what WIRE 3 says. */
export type RecordedEvent = Record<string, unknown> & { readonly event: string };

/** The events of a record, torn lines left out. */
export function readRecord(file: string): RecordedEvent[] {
  return readFileSync(file, 'utf8').split('\n').flatMap(parseLine);
}

function parseLine(line: string): RecordedEvent[] {
  try {
    return [JSON.parse(line) as RecordedEvent];
  } catch {
    return [];
  }
}

/** Paths of all admitted calls. */
export function admittedPaths(events: readonly RecordedEvent[]): Set<string> {
  const admitted = events.filter(({ event }) => event === 'call.admitted');
  return new Set(admitted.map((event) => (event['target'] as { path: string }).path));
}

/** Events of calls to a path: admissions, and the ends that belong to them. */
export function eventsOf(events: readonly RecordedEvent[], path: string): RecordedEvent[] {
  const ids = events.filter((event) => (event['target'] as { path?: string } | undefined)?.path === path);
  return events.filter((event) => ids.some((call) => call['id'] === event['id']));
}

/** Follows the chain of every boot in these files. Throws what is wrong with it. */
export async function checkChain(...files: string[]): Promise<RecordReport> {
  const report = await verifyEvents(files);
  if (report.faultCount > 0) throw new Error(`the chain is broken: ${JSON.stringify(report.faults)}`);
  return report;
}
