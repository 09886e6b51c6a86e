import { Agent } from 'node:http';
import type { ServerResponse } from 'node:http';
import { openFakeTokenService, type FakeTokenService } from '../fakes/token-service.ts';
import type { SeenCall } from './echo-tool.ts';
import { send } from './load.ts';
import { openDomain, openWayIn, type WayInStage } from './way-in-stage.ts';

export const toolNames = ['crm', 'mail'] as const;
const secret = 'stage-client-secret-0123456789abcdef';
const origin = (name: string): string => `http://${name}.localhost`;

/** Users call a planner, which calls a worker, which calls one of two tools; each of the four has its own sidecar. */
export interface AgentPath {
  readonly service: FakeTokenService;
  readonly planner: WayInStage;
  readonly worker: WayInStage;
  readonly tools: Readonly<Record<(typeof toolNames)[number], WayInStage>>;
  close(): Promise<void>;
}

/**
 * Opens all of it in one trust domain, with one token service. The last part of a path names the tool; a path that begins with `/hold` is
 * answered by nobody.
 * @param shared further sections of all four configurations.
 */
export async function openAgentPath(shared: Record<string, unknown> = {}): Promise<AgentPath> {
  const authority = await openDomain();
  const service = await openFakeTokenService({ secret });
  const agents: Agent[] = [];
  const open = (name: string, more: Partial<Parameters<typeof openWayIn>[0]>): Promise<WayInStage> =>
    openWayIn({ name, authority, shares: service, corp: { actor: 'jwt-svid' }, ...more });
  const tool = (name: string): Promise<WayInStage> =>
    open(name, {
      inbound: {
        program: 'tool',
        present: 'headers',
        chain: { require: true },
        callers: ['spiffe://example.org/worker'],
      },
      sections: { tasks: { linger: '0s' }, ...shared },
      answer: ({ path, headers }, response) => {
        if (path.startsWith('/hold')) return;
        answerWith(response, 200, `${String(headers['waybill-subject'])} by ${String(headers['waybill-chain'])}`);
      },
    });
  const tools = { crm: await tool('crm'), mail: await tool('mail') };
  const worker: WayInStage = await open('worker', {
    inbound: { chain: { require: true }, callers: ['spiffe://example.org/planner'] },
    sections: {
      ...shared,
      tasks: { linger: '500ms' },
      tools: { crm: toolAt('crm', tools.crm), mail: toolAt('mail', tools.mail) },
    },
    answer: relay(
      agents,
      () => worker,
      (path) => origin(path.split('/').at(-1) ?? ''),
    ),
  });
  const resources = ['worker', ...toolNames].map(origin);
  const planner: WayInStage = await open('planner', {
    sections: {
      ...shared,
      tasks: { linger: '500ms' },
      tools: { worker: { ...toolAt('worker', worker), delegate: { resources, hops: 1 } } },
    },
    answer: relay(
      agents,
      () => planner,
      () => origin('worker'),
    ),
  });
  return {
    service,
    planner,
    worker,
    tools,
    async close() {
      for (const agent of agents) agent.destroy();
      for (const stage of [planner, worker, tools.crm, tools.mail]) await stage.close();
      await service.close();
    },
  };
}

function toolAt(name: string, stage: WayInStage): Record<string, unknown> {
  const token = { from: 'corp', resource: origin(name), proof: 'dpop' };
  return { match: { host: `${name}.localhost` }, dial: stage.to.address(), token };
}

/** An agent: for each request it makes one of its own, with what it was given, and answers with what came. */
function relay(agents: Agent[], stage: () => WayInStage, next: (path: string) => string) {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  agents.push(agent);
  return (call: SeenCall, response: ServerResponse): void => {
    const headers = { authorization: String(call.headers.authorization) };
    const sent = send(stage().sidecar.addresses.outbound, agent, { origin: next(call.path), path: call.path, headers });
    void sent.then(({ status, body }) => answerWith(response, status === 0 ? 599 : status, body));
  };
}

function answerWith(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { 'content-type': 'text/plain', 'content-length': Buffer.byteLength(body) });
  response.end(body);
}
