import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { decodeJwt } from 'jose';
import { basic, dial, exchangeOn, openTunnel, requestBytes, type RawAnswer } from './raw-call.ts';
import { callOperator, openTask } from './sidecar-process.ts';
import { makeToolCertificate } from './tool-certificate.ts';
import { openStage, type Stage } from './way-out-stage.ts';
import { openWitnessTool, type WitnessTool } from './witness-tool.ts';

/** What a run of interleaved tasks came to. */
export interface Interleaved {
  /** Calls whose token was another task's, user's or tool's. */
  readonly wrong: readonly string[];
  readonly delivered: number;
  readonly tokens: number;
  readonly tasksEnded: number;
  /** Answers by way and status; `cut` where the connection ended. */
  readonly answers: ReadonlyMap<string, number>;
  /** Calls that were refused or cut although their task was open all the time. */
  readonly lost: readonly string[];
}

interface OpenTask {
  readonly txn: string;
  readonly handle: string;
  readonly sub: string;
  readonly jti: string;
  ended: boolean;
}

interface Order {
  readonly task: OpenTask;
  readonly tool: string;
  readonly secure: boolean;
  readonly path: string;
}

interface IdleSocket {
  readonly socket: Socket;
  readonly sinceMs: number;
}

const idleMs = 30_000;
const users = 20;
const tasksOfUser = 10;
const tools = { alpha: false, beta: false, gamma: false, delta: true, epsilon: true } as const;

/** Runs so many calls, 32 at a time, of 200 tasks of 20 users over 5 tools; tasks end and are replaced in between. */
export async function interleave(calls: number): Promise<Interleaved> {
  const certificate = await makeToolCertificate('delta.test', 'epsilon.test');
  const opened = new Map<string, WitnessTool>();
  for (const [name, secure] of Object.entries(tools)) {
    opened.set(name, await openWitnessTool(name, secure ? certificate : undefined));
  }
  const port = (name: string): number => opened.get(name)?.port ?? 0;
  const stage = await openStage({
    service: { lifeSeconds: 6 },
    tools: {
      alpha: { port: port('alpha'), useFor: '2s' },
      beta: { port: port('beta') },
      gamma: { port: port('gamma'), proof: 'dpop', useFor: '2s' },
      delta: { port: port('delta'), ca: certificate.ca, useFor: '2s' },
      epsilon: { port: port('epsilon'), ca: certificate.ca, proof: 'dpop' },
    },
  });
  try {
    const crowd = new Crowd(stage);
    await crowd.open();
    let left = calls;
    const work = async (): Promise<void> => {
      while (left > 0) {
        left -= 1;
        if (left % 50 === 0) await crowd.endOne();
        await crowd.call(left);
      }
    };
    await Promise.all(Array.from({ length: 32 }, work));
    crowd.close();
    const all = [...opened.values()];
    return {
      wrong: all.flatMap((tool) => tool.wrong),
      delivered: all.reduce((sum, tool) => sum + [...tool.right.values()].reduce((a, b) => a + b, 0), 0),
      tokens: all.reduce((sum, tool) => sum + tool.tokens.size, 0),
      tasksEnded: crowd.tasksEnded,
      answers: crowd.answers,
      lost: crowd.lost.length === 0 ? [] : [...crowd.lost, ...complaints(stage)],
    };
  } finally {
    await stage.close();
    for (const tool of opened.values()) await tool.close();
  }
}

/** What the sidecar logged beside a loss: why a service gave no answer. */
function complaints({ sidecar }: Stage): string[] {
  const lines = sidecar.output().split('\n');
  return lines.filter((line) => /"level":[4-6]0/.test(line));
}

/** The tasks, and the ways in which they call. Connections are kept and shared wherever a client could share them. */
class Crowd {
  tasksEnded = 0;
  readonly answers = new Map<string, number>();
  readonly lost: string[] = [];
  readonly #stage: Stage;
  readonly #tasks: OpenTask[] = [];
  readonly #idle = new Map<string, IdleSocket[]>();
  readonly #ca: string;

  constructor(stage: Stage) {
    this.#stage = stage;
    this.#ca = readFileSync(stage.sidecar.caFile, 'utf8');
  }

  async open(): Promise<void> {
    for (let at = 0; at < users * tasksOfUser; at += 1) this.#tasks.push(await this.#openTask(`user-${at % users}`));
  }

  async #openTask(sub: string): Promise<OpenTask> {
    const token = await this.#stage.service.subjectToken({ sub });
    const { txn, handle } = await openTask(this.#stage.sidecar, { subject_token: token });
    return { txn, handle, sub, jti: decodeJwt(token).jti ?? '', ended: false };
  }

  /** Ends a task while its calls run, and opens another one of the same user. */
  async endOne(): Promise<void> {
    const at = randomInt(this.#tasks.length);
    const task = this.#tasks[at]!;
    task.ended = true;
    this.#tasks[at] = await this.#openTask(task.sub);
    await callOperator(this.#stage.sidecar.addresses.socket, 'POST', `/v1/tasks/${task.txn}/complete`);
    this.tasksEnded += 1;
    // Its handle is tried once more: a tombstone.
    await this.#send({ task, tool: 'beta', secure: false, path: `/${task.sub}/${task.jti}/late` }, 'mount-bearer');
  }

  async call(count: number): Promise<void> {
    const task = this.#tasks[randomInt(this.#tasks.length)]!;
    const names = Object.keys(tools) as (keyof typeof tools)[];
    const tool = names[randomInt(names.length)]!;
    const order = { task, tool, secure: tools[tool], path: `/${task.sub}/${task.jti}/${count}` };
    const way = ways[randomInt(ways.length)]!;
    const wasOpen = !task.ended;
    const outcome = await this.#send(order, way);
    if (outcome !== '200' && wasOpen && !task.ended) this.lost.push(`${way} ${tool}${order.path}: ${outcome}`);
  }

  async #send(order: Order, way: (typeof ways)[number]): Promise<string> {
    const { key, open, bytes } = this.#plan(order, way);
    let outcome = 'cut';
    try {
      const socket = this.#takeIdle(key) ?? (await open());
      const answer = await exchangeOn(socket, bytes).catch((error: unknown) => {
        socket.destroy();
        throw error;
      });
      outcome = answer.code ?? String(answer.status);
      if (answer.headers['connection'] === 'close') socket.destroy();
      else this.#idle.set(key, [...(this.#idle.get(key) ?? []), { socket, sinceMs: performance.now() }]);
    } catch (error) {
      const { answer } = error as { answer?: RawAnswer };
      if (answer !== undefined) outcome = answer.code ?? String(answer.status);
    }
    const label = `${way} ${outcome}`;
    this.answers.set(label, (this.answers.get(label) ?? 0) + 1);
    return outcome;
  }

  /** Connections by what a client could share: a tunnel with a proxy credential belongs to its task, all others to nobody. */
  #plan({ task, tool, secure, path }: Order, way: (typeof ways)[number]) {
    const { outbound } = this.#stage.sidecar.addresses;
    const { handle } = task;
    const host = `${tool}.test`;
    const url = `${secure ? 'https' : 'http'}://${host}${path}`;
    const tls = secure ? { tls: { ca: this.#ca, serverName: host } } : {};
    const target = `${host}:${secure ? 443 : 80}`;
    const plain = (to: string, headers: Record<string, string>) => ({
      key: 'proxy',
      open: async () => dial(outbound),
      bytes: requestBytes('GET', to, headers),
    });
    const mount = (headers: Record<string, string>) => plain(`/tools/${tool}${path}`, { Host: outbound, ...headers });
    switch (way) {
      case 'absolute-proxy':
        return plain(url, { Host: host, 'Proxy-Authorization': basic(handle) });
      case 'absolute-bearer':
        return plain(url, { Host: host, Authorization: `Bearer ${handle}` });
      case 'mount-bearer':
        return mount({ Authorization: `Bearer ${handle}` });
      case 'mount-basic':
        return mount({ Authorization: basic(handle) });
      case 'mount-key':
        return mount({ 'x-api-key': handle });
      case 'tunnel-proxy':
        return {
          key: `${tool} ${task.txn}`,
          open: () => openTunnel(outbound, target, { handle, ...tls }),
          bytes: requestBytes('GET', path, { Host: host }),
        };
      default:
        return {
          key: tool,
          open: () => openTunnel(outbound, target, tls),
          bytes: requestBytes('GET', path, { Host: host, Authorization: `Bearer ${handle}` }),
        };
    }
  }

  /** The newest, as clients do. One that the sidecar may be about to close (75 s) is not used any more. */
  #takeIdle(key: string): Socket | undefined {
    const last = this.#idle.get(key)?.pop();
    if (last === undefined || performance.now() - last.sinceMs < idleMs) return last?.socket;
    last.socket.destroy();
    return undefined;
  }

  close(): void {
    for (const sockets of this.#idle.values()) for (const { socket } of sockets) socket.destroy();
  }
}

const ways = [
  'absolute-proxy',
  'absolute-bearer',
  'mount-bearer',
  'mount-basic',
  'mount-key',
  'tunnel-proxy',
  'tunnel-shared',
] as const;
