import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { loadSettings } from '../../config/load.ts';
import { openSidecar, type Sidecar } from '../../proxy/sidecar.ts';
import { realWorld, type World } from '../../proxy/world.ts';
import { removeFolder } from './sidecar-process.ts';

/** A sidecar inside the test's own process: for tests that turn the clock, or look at what is dialled. */
export interface InProcess {
  readonly sidecar: Sidecar;
  readonly outbound: string;
  readonly eventsFile: string;
  close(): Promise<void>;
}

/** Opens one with these sections of the configuration, in a folder of its own. @param world replaces parts of the real one. */
export async function openInProcess(sections: Record<string, unknown>, world: Partial<World> = {}): Promise<InProcess> {
  const dir = mkdtempSync(join(tmpdir(), 'waybill-inside-'));
  const config = {
    version: 1,
    agent: { name: 'invoice-bot', purpose: 'reconcile' },
    listen: { outbound: '127.0.0.1:0', metrics: '127.0.0.1:0', health: '127.0.0.1:0' },
    operator: { socket: join(dir, 'operator.sock') },
    ca: { dir: join(dir, 'ca'), publish: join(dir, 'trust') },
    record: { file: join(dir, 'events.jsonl') },
    rules: [{ name: 'all', effect: 'allow', when: 'true' }],
    ...sections,
  };
  const settings = loadSettings(JSON.stringify(config), 'waybill.yaml');
  const sidecar = await openSidecar(settings, { ...realWorld([]), ...world }, pino({ level: 'silent' }));
  return {
    sidecar,
    outbound: sidecar.addresses.outbound,
    eventsFile: join(dir, 'events.jsonl'),
    async close() {
      await sidecar.close();
      removeFolder(dir);
    },
  };
}
