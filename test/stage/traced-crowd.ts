import { randomBytes, randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { agentEnvironment } from '../../proxy/cli/agent-environment.ts';
import { eventually } from '../fakes/eventually.ts';
import type { Lie } from '../fakes/token-service-lies.ts';
import type { Caller } from './caller.ts';
import { freePort } from './free-port.ts';
import { exchangeOn } from './raw-call.ts';
import { makeToolCertificate } from './tool-certificate.ts';
import { type RunningAgent, startAgent, type TracedAgent } from './traced-agents.ts';
import { type TracedRecord, readTracedRecord } from './traced-record.ts';
import type { StagedTool } from './way-out-stage.ts';
import { openWayIn, type WayInStage } from './way-in-stage.ts';
import { openWitnessTool, type WitnessTool } from './witness-tool.ts';

/** How much of it there is. Calls of a task: `during + late`, one to a tool that is too grave, and one after the end. */
export interface CrowdSize {
  readonly users: number;
  readonly tasks: number;
  /** Tasks whose requests are under way at a time. */
  readonly atOnce: number;
  readonly during: number;
  readonly late: number;
}

/** What a crowd came to. */
export interface TracedOutcome {
  /** Calls that came to a tool with a token of another task, user or audience, or with what should have stayed here. */
  readonly wrong: readonly string[];
  readonly delivered: number;
  /** Different tokens that came to tools. */
  readonly tokens: number;
  /** Requests of users that were not answered with 200. */
  readonly unanswered: readonly string[];
  /** What the agent saw, by phase and outcome. */
  readonly outcomes: Readonly<Record<string, number>>;
  readonly record: TracedRecord;
  /** Faults of the token service that were on for a while, and requests that it had. */
  readonly faults: number;
  readonly exchanges: number;
  readonly seconds: number;
}

const lingerMs = 8000;
const lateMs = 1500;
/** How long a call may be on its way on a machine that is busy; the record says that its token was good when it left. */
const busyMs = 5000;
const faults: readonly Lie[] = ['broken', 'slow', 'reset', 'half', 'unavailable', 'other_sub', 'extra_audience'];
const names = Array.from({ length: 20 }, (_, at) => `t${String(at + 1).padStart(2, '0')}`);
/** Every fourth is https, every fifth wants proofs, every third is called through its mount, every other gets a new token all 2 s. */
const kindOf = (at: number) => ({
  secure: at % 4 === 1,
  bound: at % 5 === 2,
  mounted: at % 3 === 0,
  brief: at % 2 === 0,
});

/** Lets users work through one agent, whose calls say by nothing but their trace for whom they are. */
export async function callTraced(agent: TracedAgent, size: CrowdSize): Promise<TracedOutcome> {
  const certificate = await makeToolCertificate(...names.map((name) => `${name}.test`));
  const tools = new Map<string, WitnessTool>();
  const staged: Record<string, StagedTool> = {};
  for (const [at, name] of names.entries()) {
    const { secure, bound, brief } = kindOf(at);
    const tool = await openWitnessTool(name, secure ? certificate : undefined, busyMs);
    tools.set(name, tool);
    staged[name] = {
      port: tool.port,
      ...(secure ? { ca: certificate.ca } : {}),
      ...(bound ? { proof: 'dpop' } : {}),
      ...(brief ? { useFor: '2s' } : {}),
    };
  }
  const grave = await openWitnessTool('grave', undefined, busyMs);
  tools.set('grave', grave);
  staged['grave'] = { port: grave.port, more: { risk: 'write' } };
  const port = await freePort();
  const stage = await openWayIn({
    tools: staged,
    service: { lifeSeconds: 6 },
    inbound: { forward_to: `http://127.0.0.1:${port}` },
    sections: { tasks: { linger: `${lingerMs}ms` } },
  });
  try {
    const running = await startAgent(agent, environmentOf(stage, port, size));
    try {
      return await new Crowd(stage, running, [...tools.values()], size).work();
    } finally {
      await running.stop();
    }
  } finally {
    await stage.close();
    for (const tool of tools.values()) await tool.close();
  }
}

function environmentOf({ sidecar }: WayInStage, port: number, { during, late }: CrowdSize) {
  const { outbound } = sidecar.addresses;
  const urls = names.map((name, at) => {
    const { secure, mounted } = kindOf(at);
    return mounted ? `http://${outbound}/tools/${name}` : `${secure ? 'https' : 'http'}://${name}.test`;
  });
  return {
    ...agentEnvironment({ proxy: `http://${outbound}`, trustFolder: sidecar.caFile.replace(/\/[^/]+$/, '') }),
    // Mounts are called without a proxy.
    NO_PROXY: '127.0.0.1',
    no_proxy: '127.0.0.1',
    PORT: String(port),
    TOOLS: JSON.stringify(urls),
    GRAVE: 'http://grave.test',
    DURING: String(during),
    LATE: String(late),
    LATE_MS: String(lateMs),
    GONE_MS: String(lingerMs + 2500),
  };
}

class Crowd {
  readonly #stage: WayInStage;
  readonly #agent: RunningAgent;
  readonly #tools: readonly WitnessTool[];
  readonly #size: CrowdSize;
  readonly #unanswered: string[] = [];
  #faults = 0;

  constructor(stage: WayInStage, agent: RunningAgent, tools: readonly WitnessTool[], size: CrowdSize) {
    this.#stage = stage;
    this.#agent = agent;
    this.#tools = tools;
    this.#size = size;
  }

  async work(): Promise<TracedOutcome> {
    const { users, tasks, atOnce, during, late } = this.#size;
    const callers: Caller[] = [];
    for (let at = 0; at < users; at += 1) callers.push(await this.#stage.caller({ sub: `user-${at}` }));
    const start = performance.now();
    const trouble = new AbortController();
    const troubled = this.#makeTrouble(trouble.signal);
    let left = tasks;
    const worker = async (): Promise<void> => {
      while (left > 0) {
        left -= 1;
        const at = randomInt(users);
        await this.#request(callers[at]!, `user-${at}`);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
    const all = tasks * (during + late + 2);
    await eventually('the agent made all its calls', async () => this.#told(await this.#outcomes()) >= all, 120_000);
    const seconds = (performance.now() - start) / 1000;
    trouble.abort();
    await troubled;
    return {
      wrong: this.#tools.flatMap(({ wrong }) => wrong),
      delivered: this.#tools.reduce((sum, { right }) => sum + [...right.values()].reduce((a, b) => a + b, 0), 0),
      tokens: this.#tools.reduce((sum, tool) => sum + tool.tokens.size, 0),
      unanswered: this.#unanswered,
      outcomes: await this.#outcomes(),
      record: await readTracedRecord(this.#stage.sidecar.eventsFile),
      faults: this.#faults,
      exchanges: this.#stage.service.counts.token,
      seconds,
    };
  }

  /** One request of a user: with a token of its own, by which tools know the task. */
  async #request(caller: Caller, sub: string): Promise<void> {
    const jti = randomBytes(8).toString('hex');
    const token = await this.#stage.to.mint({ sub, jti, cnf: { jkt: caller.key.jkt } });
    const path = `/${sub}/${jti}`;
    const socket = await caller.connect();
    try {
      for (let attempt = 1; ; attempt += 1) {
        const answer = await exchangeOn(socket, caller.bytes({ path, token }), 60_000);
        caller.nonce = answer.headers['dpop-nonce'] ?? caller.nonce;
        if (answer.status === 200) return;
        if (answer.code !== 'nonce_required' || attempt === 2) throw new Error(`${answer.status} ${answer.body}`);
      }
    } catch (error) {
      this.#unanswered.push(`${path}: ${String(error)}`);
    } finally {
      socket.destroy();
    }
  }

  /** Every few seconds the token service has one of its faults for a moment. */
  async #makeTrouble(signal: AbortSignal): Promise<void> {
    const { service } = this.#stage;
    while (!signal.aborted) {
      await sleep(3000);
      // Thousands of requests that were looked at, and nobody needs any more.
      for (const tool of this.#tools) tool.requests.splice(0);
      service.requests.splice(0);
      service.lie = faults[this.#faults % faults.length];
      await sleep(300);
      service.lie = undefined;
      this.#faults += 1;
    }
  }

  async #outcomes(): Promise<Record<string, number>> {
    const { outcomes } = JSON.parse(await this.#agent.ask('/outcomes')) as { outcomes: Record<string, number> };
    return outcomes;
  }

  #told(outcomes: Readonly<Record<string, number>>): number {
    return Object.entries(outcomes).reduce((sum, [name, n]) => (name.startsWith('again') ? sum : sum + n), 0);
  }
}
