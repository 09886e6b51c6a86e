import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../fakes/eventually.ts';
import { openEchoTool, type EchoTool } from './echo-tool.ts';
import { startLoad } from './load.ts';
import { basic } from './raw-call.ts';
import { openStage, type Stage } from './way-out-stage.ts';

/** What kill -9 under load left. */
export interface KillRounds {
  readonly stage: Stage;
  /** Paths, each of one call, that reached a tool. */
  readonly seen: ReadonlySet<string>;
  /** Paths that an agent got an answer of the tool for. */
  readonly answered: ReadonlySet<string>;
  close(): Promise<void>;
}

/**
 * Starts a sidecar, puts it under load, kills it, and starts it again in the same folder, so many times. It runs when this returns.
 * @param workers calls that are under way at a time.
 */
export async function killUnderLoad(rounds: number, workers: number): Promise<KillRounds> {
  const tools = [await openEchoTool(), await openEchoTool()] as const;
  const stage = await openStage({
    tools: { crm: { port: tools[0].port }, pay: { port: tools[1].port, proof: 'dpop' } },
  });
  const answered = new Set<string>();
  for (let round = 0; round < rounds; round += 1) {
    const tasks = [await stage.task('alice'), await stage.task('bob')];
    let count = 0;
    const load = startLoad(stage.sidecar.addresses.outbound, workers, () => {
      count += 1;
      const task = tasks[count % 2];
      return {
        origin: count % 3 === 0 ? 'http://pay.test' : 'http://crm.test',
        path: `/round-${round}/call-${count}`,
        headers: { 'proxy-authorization': basic(task?.handle ?? '') },
      };
    });
    await eventually('calls pass', () => load.answers.length > workers, 20_000);
    await sleep(randomInt(10, 250));
    await stage.sidecar.kill();
    await load.stop();
    for (const { path, status } of load.answers) if (status === 200) answered.add(path);
    await stage.restart();
  }
  return {
    stage,
    get seen() {
      return new Set(tools.flatMap((tool) => tool.seen.map(({ path }) => path)));
    },
    answered,
    close: async () => {
      await stage.close();
      await Promise.all(tools.map((tool: EchoTool) => tool.close()));
    },
  };
}
