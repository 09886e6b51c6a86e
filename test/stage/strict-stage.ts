import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { StrictService } from '../fakes/strict-service.ts';
import { openEchoTool, type EchoTool } from './echo-tool.ts';
import { callThrough, type RawAnswer } from './raw-call.ts';
import { openTask, removeFolder, startSidecar, type SidecarProcess } from './sidecar-process.ts';

/** One of the token services of the configuration. */
export interface StagedService {
  readonly service: StrictService;
  readonly clientId: string;
  readonly secret: string;
  /** Further settings. */
  readonly more?: Record<string, unknown>;
}

export interface StrictStageOptions {
  /** By name; the first knows the users, and its tokens open tasks. */
  readonly services: Readonly<Record<string, StagedService>>;
  /** Settings of each tool besides where it is. */
  readonly tools: Readonly<Record<string, Record<string, unknown>>>;
  readonly sections?: Record<string, unknown>;
}

/** A sidecar process at several token services, with one tool that answers for all. */
export interface StrictStage {
  readonly sidecar: SidecarProcess;
  readonly tool: EchoTool;
  /** Opens a task for alice, and calls a tool in it. */
  call(name: string, options?: { claims?: Record<string, unknown>; headers?: Record<string, string> }): Promise<Called>;
  close(): Promise<void>;
}

export interface Called {
  readonly answer: RawAnswer;
  readonly txn: string;
  readonly handle: string;
}

/** Starts one. Hosts of the tools are `<name>.test`. */
export async function openStrictStage({ services, tools, sections }: StrictStageOptions): Promise<StrictStage> {
  const dir = mkdtempSync(join(tmpdir(), 'waybill-strict-'));
  const tool = await openEchoTool();
  const settings: Record<string, unknown> = {};
  for (const [name, { service, clientId, secret, more }] of Object.entries(services)) {
    writeFileSync(join(dir, name), secret);
    settings[name] = {
      issuer: service.issuer,
      client_auth: 'client_secret_basic',
      client_id: clientId,
      client_secret_file: join(dir, name),
      ...more,
    };
  }
  const [first] = Object.values(services);
  if (first === undefined) throw new Error('no token service');
  const config: Record<string, unknown> = {
    trust: { issuers: [{ issuer: first.service.issuer, audience: 'invoice-bot' }] },
    token_services: settings,
    tools: Object.fromEntries(
      Object.entries(tools).map(([name, own]) => [
        name,
        { match: { host: `${name}.test` }, dial: `127.0.0.1:${tool.port}`, ...own },
      ]),
    ),
    rules: [{ name: 'all', effect: 'allow', when: 'true' }],
    ...sections,
  };
  const yaml = Object.entries(config).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
  const sidecar = await startSidecar(yaml.join('\n'), { dir });
  return {
    sidecar,
    tool,
    async call(name, { claims, headers = {} } = {}) {
      const { handle, txn } = await openTask(sidecar, { subject_token: await first.service.subjectToken(claims) });
      const answer = await callThrough(sidecar.addresses.outbound, `http://${name}.test/x`, { handle, headers });
      return { answer, txn, handle };
    },
    async close() {
      await sidecar.stop();
      await tool.close();
      await Promise.all(Object.values(services).map(({ service }) => service.close()));
      removeFolder(dir);
    },
  };
}
