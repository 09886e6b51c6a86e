import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type FakeTokenService, type FakeTokenServiceOptions, openFakeTokenService } from '../fakes/token-service.ts';
import { openTask, removeFolder, startSidecar, type SidecarProcess, type StagedTask } from './sidecar-process.ts';
import type { StartOptions } from './sidecar-process.ts';

/** A destination of the stage's configuration. Its token's audience is its name. */
export interface StagedTool {
  /** Port on 127.0.0.1 that is dialled. */
  readonly port: number;
  /** Host that agents call; default `<name>.test`, which no DNS knows. */
  readonly host?: string;
  /** PEM of the authority that signed the tool's certificate; makes it https. */
  readonly ca?: string;
  /** False: a tool without credential. */
  readonly token?: boolean;
  readonly proof?: 'dpop';
  /** How long a token is used, such as `2s`. */
  readonly useFor?: string;
  /** Further keys of the tool's settings. */
  readonly more?: Record<string, unknown>;
}

export interface StageOptions {
  readonly tools: Record<string, StagedTool>;
  readonly service?: FakeTokenServiceOptions;
  /** Overwrite settings of the token service `corp`. */
  readonly corp?: Record<string, unknown>;
  /** Further token services, whole. */
  readonly services?: Record<string, unknown>;
  /** Further or other sections of the configuration, one value each; made when the issuer is known, where they name it. */
  readonly sections?: Record<string, unknown> | ((service: FakeTokenService) => Record<string, unknown>);
  /** A token service that runs already and goes on afterwards. */
  readonly shares?: FakeTokenService;
  readonly start?: Omit<StartOptions, 'dir'>;
  /** A folder that was made for it; it is removed at the end. */
  readonly dir?: string;
}

/** A sidecar process with a token service and tools that it may reach. */
export interface Stage {
  readonly service: FakeTokenService;
  readonly sidecar: SidecarProcess;
  readonly dir: string;
  readonly clientSecret: string;
  /** Opens a task for a user. */
  task(sub?: string, request?: Record<string, unknown>): Promise<StagedTask>;
  /** Starts a sidecar in the same folder, with the same configuration. */
  restart(start?: Omit<StartOptions, 'dir'>): Promise<SidecarProcess>;
  close(): Promise<void>;
}

const defaultSecret = 'stage-client-secret-0123456789abcdef';

/** Starts one. Every call that has a task (or needs none) is allowed. */
export async function openStage(options: StageOptions): Promise<Stage> {
  const clientSecret = options.service?.secret ?? defaultSecret;
  const service = options.shares ?? (await openFakeTokenService({ secret: clientSecret, ...options.service }));
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'waybill-stage-'));
  const yaml = configurationOf(options, service, dir, clientSecret);
  const start = (more: Omit<StartOptions, 'dir'> = {}): Promise<SidecarProcess> =>
    startSidecar(yaml, { ...options.start, ...more, dir });
  const stage = {
    service,
    sidecar: await start(),
    dir,
    clientSecret,
    async task(sub = 'alice', request: Record<string, unknown> = {}): Promise<StagedTask> {
      return openTask(stage.sidecar, { subject_token: await service.subjectToken({ sub }), ...request });
    },
    async restart(more: Omit<StartOptions, 'dir'> = {}): Promise<SidecarProcess> {
      stage.sidecar = await start(more);
      return stage.sidecar;
    },
    async close(): Promise<void> {
      await stage.sidecar.stop();
      if (options.shares === undefined) await service.close();
      removeFolder(dir);
    },
  };
  return stage;
}

function configurationOf(options: StageOptions, service: FakeTokenService, dir: string, secret: string): string {
  writeFileSync(join(dir, 'client-secret'), secret, { mode: 0o600 });
  const tools = Object.entries(options.tools).map(([name, tool]) => [name, settingsOf(name, tool, dir)]);
  const sections: Record<string, unknown> = {
    trust: { issuers: [{ issuer: service.issuer, audience: 'invoice-bot' }] },
    token_services: {
      corp: {
        issuer: service.issuer,
        client_auth: 'client_secret_basic',
        client_id: 'invoice-bot',
        client_secret_file: join(dir, 'client-secret'),
        ...options.corp,
      },
      ...options.services,
    },
    tools: Object.fromEntries(tools),
    rules: [{ name: 'all', effect: 'allow', when: 'true' }],
    ...(typeof options.sections === 'function' ? options.sections(service) : options.sections),
  };
  // JSON is YAML: one section a line.
  return Object.entries(sections)
    .map(([name, value]) => `${name}: ${JSON.stringify(value)}`)
    .join('\n');
}

function settingsOf(name: string, tool: StagedTool, dir: string): Record<string, unknown> {
  const caFile = join(dir, `${name}-ca.pem`);
  if (tool.ca !== undefined) writeFileSync(caFile, tool.ca);
  const token = {
    from: 'corp',
    audience: name,
    scopes: [`${name}.read`],
    ...(tool.proof === undefined ? {} : { proof: tool.proof }),
    ...(tool.useFor === undefined ? {} : { use_for: tool.useFor }),
  };
  return {
    match: { host: tool.host ?? `${name}.test` },
    dial: `127.0.0.1:${tool.port}`,
    ...(tool.token === false ? {} : { token }),
    ...(tool.ca === undefined ? {} : { tls: { ca: caFile } }),
    ...tool.more,
  };
}
