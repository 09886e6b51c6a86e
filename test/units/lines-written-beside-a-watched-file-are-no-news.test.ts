import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, expect, test, vi } from 'vitest';
import { WatchedFiles } from '../../proxy/spiffe/watched-files.ts';

const folder = await mkdtemp(join(tmpdir(), 'waybill-watched-'));
const watchedFile = join(folder, 'waybill.yaml');
const record = join(folder, 'events.jsonl');
let looks = 0;
let changes = 0;

await writeFile(watchedFile, 'one');
await writeFile(record, '');
const watched = new WatchedFiles(
  folder,
  () => {
    looks += 1;
    return Promise.resolve([watchedFile]);
  },
  () => {
    changes += 1;
    return Promise.resolve();
  },
);
await watched.look();

afterAll(async () => {
  watched.close();
  await rm(folder, { recursive: true });
});

test('a record that is written beside a file leads to no looks at it', async () => {
  const before = looks;
  for (let line = 0; line < 150; line += 1) {
    await appendFile(record, `{"seq":${line}}\n`);
    await sleep(5);
  }
  // One each second comes whatever is heard.
  expect(looks - before).toBeLessThanOrEqual(3);
});

test('changes of the file itself are heard before the looks of each second', async () => {
  const start = performance.now();
  for (let round = 0; round < 5; round += 1) {
    const before = changes;
    await writeFile(watchedFile, `in place, ${round}`);
    await vi.waitFor(() => expect(changes).toBeGreaterThan(before), { timeout: 2000, interval: 5 });
  }
  // Five looks of a second each, of which the first may come at once.
  expect(performance.now() - start).toBeLessThan(3000);
});
