import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { awaitEvent } from '../../proxy/cli/demo/witness.ts';

test('an event that is written after the answer is waited for, and the newest that fits is taken', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'waybill-witness-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'events.jsonl');
  const line = (code: string, seq: number): string => `${JSON.stringify({ event: 'call.refused', code, seq })}\n`;
  writeFileSync(file, line('handle_ended', 1) + line('tool_not_in_task', 2));
  const old = await awaitEvent(file, 'call.refused', ({ code }) => code === 'tool_not_in_task');
  expect(old?.['seq']).toBe(2);
  const late = awaitEvent(file, 'call.refused', ({ seq }) => Number(seq) > 2);
  await sleep(100);
  // Half a line is none: the sidecar writes while the demo reads.
  appendFileSync(file, line('handle_ended', 3).slice(0, 20));
  await sleep(50);
  appendFileSync(file, line('handle_ended', 3).slice(20) + line('handle_ended', 4));
  expect((await late)?.['code']).toBe('handle_ended');
});
