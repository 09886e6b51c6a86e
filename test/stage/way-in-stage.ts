import type { ServerResponse } from 'node:http';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Authority, openAuthority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApiServer, type WorkloadApiServer } from '../../proxy/embedded/workload-api.ts';
import type { FakeTokenService } from '../fakes/token-service.ts';
import { type Caller, type Destination, openCaller } from './caller.ts';
import { type EchoTool, openEchoTool, type SeenCall } from './echo-tool.ts';
import { openStage, type Stage, type StageOptions } from './way-out-stage.ts';

export interface WayInOptions {
  /** Name of the agent. */
  readonly name?: string;
  /** By default `http://<name>.localhost`. */
  readonly origin?: string;
  /** Further or other members of `inbound`; made when the issuer is known, where they name it. */
  readonly inbound?: Record<string, unknown> | ((issuer: string) => Record<string, unknown>);
  /** Further or other sections. */
  readonly sections?: Record<string, unknown>;
  /** Whose workload it is: with it, the sidecar has a Workload API of its own, as `spiffe://<trust domain>/<name>`. */
  readonly authority?: Authority;
  /** Values of the header `typ` that tokens of the stage's service may have; by default `at+jwt`. */
  readonly typ?: readonly string[];
  /** How the program answers; by default it echoes. */
  readonly answer?: (call: SeenCall, response: ServerResponse) => void;
  readonly tools?: StageOptions['tools'];
  readonly service?: StageOptions['service'];
  readonly corp?: StageOptions['corp'];
  readonly shares?: FakeTokenService;
}

/** A sidecar with a way in, in front of a program that keeps what it sees. */
export interface WayInStage extends Stage {
  readonly program: EchoTool;
  readonly origin: string;
  readonly workload: WorkloadApiServer | undefined;
  readonly to: Destination;
  /** A caller with a token for this agent. */
  caller(claims?: Readonly<Record<string, unknown>>, alg?: string): Promise<Caller>;
}

/** Starts one. Tokens of the stage's service are taken as DPoP, at the origin as resource. */
export async function openWayIn(options: WayInOptions = {}): Promise<WayInStage> {
  const { name = 'agent', authority } = options;
  const program = await openEchoTool(options.answer === undefined ? {} : { answer: options.answer });
  const { origin = `http://${name}.localhost`, inbound = {} } = options;
  const dir = mkdtempSync(join(tmpdir(), 'waybill-in-'));
  const workload =
    authority === undefined ? undefined : await openWorkload(authority, join(dir, 'workload.sock'), name);
  const stage = await openStage({
    tools: options.tools ?? {},
    dir,
    ...(options.service === undefined ? {} : { service: options.service }),
    ...(options.corp === undefined ? {} : { corp: options.corp }),
    ...(options.shares === undefined ? {} : { shares: options.shares }),
    sections: (service) => ({
      agent: { name, purpose: 'reconcile' },
      identity: workload === undefined ? 'none' : { workload_api: `unix://${workload.socketPath}` },
      trust: {
        issuers: [
          { issuer: service.issuer, audience: name, ...(options.typ === undefined ? {} : { typ: options.typ }) },
        ],
        ...(authority === undefined ? {} : { domains: { [authority.trustDomain]: 'workload_api' } }),
      },
      inbound: {
        origin,
        accept: [{ issuer: service.issuer, proof: 'dpop' }],
        forward_to: `http://127.0.0.1:${program.port}`,
        ...(typeof inbound === 'function' ? inbound(service.issuer) : inbound),
      },
      ...options.sections,
    }),
  });
  return withCallers(stage, program, origin, workload);
}

function openWorkload(authority: Authority, socketPath: string, name: string): Promise<WorkloadApiServer> {
  const spiffeId = `spiffe://${authority.trustDomain}/${name}`;
  return openWorkloadApiServer({ socketPath, authority, spiffeId, x509TtlSeconds: 3600, jwtTtlSeconds: 300 });
}

function withCallers(
  stage: Stage,
  program: EchoTool,
  origin: string,
  workload: WorkloadApiServer | undefined,
): WayInStage {
  const to: Destination = {
    address: () => stage.sidecar.addresses.inbound ?? '',
    origin,
    mint: (claims) => stage.service.subjectToken({ aud: origin, ...claims }),
  };
  // The stage's own members change with a restart: they are looked up, never copied.
  return Object.assign(Object.create(stage) as Stage, {
    program,
    origin,
    workload,
    to,
    async caller(claims: Readonly<Record<string, unknown>> = {}, alg = 'ES256') {
      const caller = await openCaller(to, claims, alg);
      // Which nonce counts, it is told by the first refusal.
      await caller.send({ proof: null });
      return caller;
    },
    async close() {
      await stage.close();
      workload?.close();
      await program.close();
    },
  });
}

/** A trust domain for the stages of a test. */
export const openDomain = (): Promise<Authority> => openAuthority('example.org');
