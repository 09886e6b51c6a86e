import { setTimeout as sleep } from 'node:timers/promises';
import { readRecord } from './event-record.ts';
import type { AgentPath } from './agent-path.ts';
import { toolNames } from './agent-path.ts';
import type { WayInStage } from './way-in-stage.ts';

/** What a crowd of users came to. */
export interface CrowdReport {
  /** Calls whose answer named another user or another path. */
  readonly mixedUp: readonly string[];
  /** Admissions in the tools' records whose user or path is not that of the call. */
  readonly recordedWrong: readonly string[];
  /** Calls that were not answered with 200. */
  readonly lost: readonly string[];
  /** Calls in the tools' records. */
  readonly recorded: number;
}

const hops = ['spiffe://example.org/planner', 'spiffe://example.org/worker'];

/** Lets so many users call through planner and worker at the same time, each with its own token, key and connection. */
export async function callAsCrowd(path: AgentPath, users: number, calls: number): Promise<CrowdReport> {
  const [mixedUp, lost]: [string[], string[]] = [[], []];
  let next = 0;
  const work = async (user: number): Promise<void> => {
    const sub = `user-${user}`;
    const caller = await path.planner.caller({ sub });
    const socket = await caller.connect();
    while (next < calls) {
      next += 1;
      const request = { path: `/${sub}/${next}/${toolNames[next % 2]}` };
      const { status, body } = await patiently(() => caller.call(request, socket));
      if (status !== 200) lost.push(`${request.path}: ${status} ${body}`);
      else if (body !== `${sub} by ${hops.join(' ')}`) mixedUp.push(`${request.path}: ${body}`);
    }
    socket.destroy();
  };
  await Promise.all(Array.from({ length: users }, (_, user) => work(user)));
  // What the last hop says that it sent is what the tools say that came.
  const sent = readRecord(path.worker.sidecar.eventsFile).filter(
    ({ event, way }) => event === 'call.admitted' && way === 'out',
  );
  const toldWrong = sent
    .filter(({ chain }) => JSON.stringify(chain) !== JSON.stringify(hops))
    .map(({ id }) => `sent: ${String(id)}`);
  const records = toolNames.map((name) => readTool(path.tools[name], name, path.service.issuer));
  return {
    mixedUp,
    lost,
    recordedWrong: [...toldWrong, ...records.flatMap(({ wrong }) => wrong)],
    recorded: records.reduce((sum, { admitted }) => sum + admitted, 0),
  };
}

/** As the answer asks a client to do: a service that a busy machine kept from answering is asked again a little later. */
async function patiently<Answer extends { status: number }>(call: () => Promise<Answer>): Promise<Answer> {
  for (let attempt = 1; ; attempt += 1) {
    const answer = await call();
    if (answer.status !== 503 || attempt === 5) return answer;
    await sleep(1000);
  }
}

/** Compares each admission of a tool with the path of its call, which says who made it and where it was to go. */
function readTool(stage: WayInStage, name: string, issuer: string): { admitted: number; wrong: string[] } {
  const wrong: string[] = [];
  const events = readRecord(stage.sidecar.eventsFile).filter(({ event }) => event === 'call.admitted');
  for (const { target, subject, chain, caller, binding } of events) {
    const [, sub, , tool] = (target as { path: string }).path.split('/');
    const expected = JSON.stringify([{ iss: issuer, sub }, hops, hops[1], 'request', tool]);
    const found = JSON.stringify([subject, chain, caller, binding, name]);
    if (found !== expected) wrong.push(`${(target as { path: string }).path}: ${found}`);
  }
  return { admitted: events.length, wrong };
}
