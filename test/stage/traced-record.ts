import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import type { RecordedEvent } from './event-record.ts';

/** What the record of a sidecar says of calls whose paths begin with `/<sub>/<jti of the caller's token>`. */
export interface TracedRecord {
  /** Tasks that requests of the way in opened. */
  readonly tasks: number;
  /** Calls of the way out that were admitted, first attempts only, by `task_by`. */
  readonly admitted: Readonly<Record<string, number>>;
  /** Calls of the way out that were refused, by code and `task_by`. */
  readonly refused: Readonly<Record<string, number>>;
  /** Admissions, and refusals that name a task, whose user or task is not the one of their path, or whose token was over. */
  readonly wrong: readonly string[];
}

/** Reads it line by line: a hundred thousand calls are some hundred megabytes. */
export async function readTracedRecord(file: string): Promise<TracedRecord> {
  const tasks = new Map<string, unknown>();
  const record = {
    admitted: {} as Record<string, number>,
    refused: {} as Record<string, number>,
    wrong: [] as string[],
  };
  for await (const line of createInterface({ input: createReadStream(file) })) {
    if (!line.includes('"call.admitted"') && !line.includes('"call.refused"')) continue;
    const event = JSON.parse(line) as RecordedEvent;
    const { path = '' } = (event['target'] ?? {}) as { path?: string };
    const [, sub, jti = ''] = path.split('/');
    const by = String(event['task_by']);
    if (event['way'] === 'in') {
      if (event.event !== 'call.admitted') continue;
      tasks.set(jti, event['txn']);
      if (by !== 'request') record.wrong.push(line);
      continue;
    }
    const { refused, admitted } = record;
    if (event.event === 'call.refused') {
      const name = `${String(event['code'])} ${by}`;
      refused[name] = (refused[name] ?? 0) + 1;
      if (event['txn'] === undefined) continue;
    } else if (event['attempt'] === 1) admitted[by] = (admitted[by] ?? 0) + 1;
    const { sub: recorded } = (event['subject'] ?? {}) as { sub?: string };
    const { expires_at: end } = (event['credential'] ?? {}) as { expires_at?: string };
    const isOver = end !== undefined && Date.parse(String(event['at'])) >= Date.parse(end);
    if (recorded !== sub || event['txn'] !== tasks.get(jti) || isOver) record.wrong.push(line);
  }
  return { tasks: tasks.size, ...record };
}
