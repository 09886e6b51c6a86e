import { spawnSync } from 'node:child_process';
import { readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openEchoTool } from '../stage/echo-tool.ts';
import { admittedPaths, checkChain, readRecord } from '../stage/event-record.ts';
import { killUnderLoad } from '../stage/kill-rounds.ts';
import { callThrough } from '../stage/raw-call.ts';
import { openStage } from '../stage/way-out-stage.ts';

const launcher = join(import.meta.dirname, '..', '..', 'proxy', 'launch.js');

test('W7: what a tool saw was admitted in the record before, also when the sidecar is killed under load', async () => {
  const rounds = 5;
  const killed = await killUnderLoad(rounds, 32);
  const { stage, seen, answered } = killed;
  try {
    const events = readRecord(stage.sidecar.eventsFile);
    const admitted = admittedPaths(events);
    expect(seen.size).toBeGreaterThan(rounds * 32);
    expect([...seen].filter((path) => !admitted.has(path))).toEqual([]);
    expect([...answered].filter((path) => !seen.has(path))).toEqual([]);

    // Each boot has a chain of its own, and all of them stand in the one file.
    const { boots } = await checkChain(stage.sidecar.eventsFile);
    expect(boots.length).toBe(rounds + 1);
    expect(new Set(boots.map(({ boot }) => boot)).size).toBe(rounds + 1);

    const task = await stage.task();
    const { outbound } = stage.sidecar.addresses;
    expect((await callThrough(outbound, 'http://crm.test/after', { handle: task.handle })).status).toBe(200);
    const verified = spawnSync(process.execPath, [launcher, 'events', 'verify', stage.sidecar.eventsFile, '--json']);
    expect(verified.status, verified.stderr.toString()).toBe(0);
    expect(JSON.parse(verified.stdout.toString())).toMatchObject({ ok: true, error_count: 0 });
  } finally {
    await killed.close();
  }
}, 90_000);

test('W7: a line that a kill tore is closed, and the record goes on behind it', async () => {
  const tool = await openEchoTool();
  const stage = await openStage({ tools: { crm: { port: tool.port } } });
  try {
    const task = await stage.task();
    await callThrough(stage.sidecar.addresses.outbound, 'http://crm.test/before', { handle: task.handle });
    const { eventsFile } = stage.sidecar;
    await eventually('the end is recorded', () => readFileSync(eventsFile, 'utf8').includes('"call.ended"'));
    await stage.sidecar.kill();
    truncateSync(eventsFile, readFileSync(eventsFile).length - 40);

    await stage.restart();
    const again = await stage.task();
    await callThrough(stage.sidecar.addresses.outbound, 'http://crm.test/behind', { handle: again.handle });
    await stage.sidecar.stop();
    const report = await checkChain(eventsFile);
    expect(report.torn).toHaveLength(1);
    expect(report.boots).toHaveLength(2);
    // The torn line was the end of the first call: nobody knows how that went.
    expect(report.outcomeUnknown).toBe(1);
    expect(admittedPaths(readRecord(eventsFile))).toEqual(new Set(['/before', '/behind']));
  } finally {
    await stage.close();
    await tool.close();
  }
});

test('W7: a handle of the killed process is known as such and good for nothing', async () => {
  const tool = await openEchoTool();
  const stage = await openStage({ tools: { crm: { port: tool.port } } });
  try {
    const { handle } = await stage.task();
    await stage.sidecar.kill();
    await stage.restart();
    const answer = await callThrough(stage.sidecar.addresses.outbound, 'http://crm.test/', { handle });
    expect([answer.status, answer.code]).toEqual([403, 'handle_previous_process']);
    expect(tool.seen).toEqual([]);
  } finally {
    await stage.close();
    await tool.close();
  }
});
