import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openFakeTokenService, type FakeTokenService } from '../fakes/token-service.ts';
import { eventually } from '../fakes/eventually.ts';
import { openStreamTool, type EchoTool } from './echo-tool.ts';
import { basic, callThrough, dial, requestBytes, type RawAnswer } from './raw-call.ts';
import { callOperator, type ApiAnswer, type StagedTask } from './sidecar-process.ts';
import { openStage, type Stage } from './way-out-stage.ts';
import { Wire } from './wire.ts';

/** Sidecars that share a store, a token service and their tools. */
export interface FleetStage {
  readonly service: FakeTokenService;
  readonly tool: EchoTool;
  readonly replicas: readonly Stage[];
  /** Waits until all of them are ready. */
  ready(limitMs?: number): Promise<void>;
  use(at: number, task: Pick<StagedTask, 'handle'>, tool?: string): Promise<RawAnswer>;
  /** A stream of a task that has begun to flow. */
  stream(at: number, task: Pick<StagedTask, 'handle'>, tool?: string): Promise<Wire>;
  revoke(at: number, what: Record<string, unknown>): Promise<ApiAnswer>;
  close(): Promise<void>;
}

const secret = 'stage-client-secret-0123456789abcdef';

/**
 * Opens one, each sidecar in its own process and folder. Tools: `crm`, `files`, and `open`, which takes no credential.
 * @param more further sections of the configuration.
 */
export async function openFleetStage(
  count: number,
  fleet: Record<string, unknown>,
  more: (service: FakeTokenService) => Record<string, unknown> = () => ({}),
): Promise<FleetStage> {
  const service = await openFakeTokenService({ secret });
  const tool = await openStreamTool();
  const { port } = tool;
  const replicas: Stage[] = [];
  for (let at = 0; at < count; at += 1) {
    const dir = mkdtempSync(join(tmpdir(), 'waybill-fleet-'));
    const tools = { crm: { port }, files: { port }, open: { port, token: false } };
    replicas.push(await openStage({ dir, shares: service, tools, sections: { fleet, ...more(service) } }));
  }
  const outbound = (at: number): string => replicas[at]?.sidecar.addresses.outbound ?? '';
  return {
    service,
    tool,
    replicas,
    async ready(limitMs = 20_000) {
      for (const { sidecar } of replicas)
        await eventually('ready', async () => (await fetch(`http://${sidecar.addresses.health}/readyz`)).ok, limitMs);
    },
    use: (at, { handle }, name = 'crm') => callThrough(outbound(at), `http://${name}.test/x`, { handle }),
    async stream(at, { handle }, name = 'crm') {
      const socket = dial(outbound(at));
      const head = { Host: `${name}.test`, 'Proxy-Authorization': basic(handle) };
      socket.write(requestBytes('GET', `http://${name}.test/stream`, head));
      const wire = new Wire(socket);
      await wire.until('data: x');
      return wire;
    },
    revoke: (at, what) =>
      callOperator(replicas[at]?.sidecar.addresses.socket ?? '', 'POST', '/v1/revoke', { reason: 'test', ...what }),
    async close() {
      await Promise.all(replicas.map((replica) => replica.close()));
      await service.close();
      await tool.close();
    },
  };
}
