import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { readSource } from '../repo/sources.ts';
import { installPrograms } from '../stage/apt-programs.ts';
import { openEchoTool } from '../stage/echo-tool.ts';
import { admittedPaths, checkChain, readRecord } from '../stage/event-record.ts';
import { callThrough } from '../stage/raw-call.ts';
import { openStage } from '../stage/way-out-stage.ts';

let missing: string | undefined;
beforeAll(() => {
  missing = installPrograms({ logrotate: 'logrotate' });
}, 300_000);

/** The example of the runbooks, for this file and process. */
function example(file: string, pid: number): string {
  const [, block = ''] = /^```logrotate\n([\s\S]*?)^```$/m.exec(readSource('deploy/prometheus/runbooks.md')) ?? [];
  const own = block
    .replace('/var/lib/waybill/events.jsonl', file)
    .replace(/systemctl kill -s HUP \S+/, `kill -HUP ${pid}`);
  expect(own).toContain(`${file} {`);
  expect(own).toContain(`kill -HUP ${pid}\n`);
  return own;
}

test('the example of the runbooks rotates the record of a running sidecar', async (context) => {
  if (missing !== undefined) context.skip(missing);
  const tool = await openEchoTool();
  const stage = await openStage({ tools: { crm: { port: tool.port } } });
  const { eventsFile, pid, addresses, dir } = stage.sidecar;
  try {
    const { handle } = await stage.task();
    const config = join(dir, 'logrotate.conf');
    writeFileSync(config, example(eventsFile, pid), { mode: 0o600 });
    for (const path of ['/first', '/second']) {
      expect((await callThrough(addresses.outbound, `http://crm.test${path}`, { handle })).status).toBe(200);
      const run = spawnSync('logrotate', ['--force', '--state', join(dir, 'state'), config], { encoding: 'utf8' });
      expect([run.status, run.stdout, run.stderr]).toEqual([0, '', '']);
      await eventually('a new file is there', () => existsSync(eventsFile));
    }
    expect((await callThrough(addresses.outbound, 'http://crm.test/third', { handle })).status).toBe(200);
    await stage.sidecar.stop();
    const unpacked = spawnSync('gunzip', [`${eventsFile}.2.gz`], { encoding: 'utf8' });
    expect([unpacked.status, unpacked.stderr]).toEqual([0, '']);
    const files = [`${eventsFile}.2`, `${eventsFile}.1`, eventsFile];
    const paths = files.map((file) => [...admittedPaths(readRecord(file))]);
    expect(paths).toEqual([['/first'], ['/second'], ['/third']]);
    await checkChain(...files);
  } finally {
    await stage.close();
    await tool.close();
  }
}, 60_000);
