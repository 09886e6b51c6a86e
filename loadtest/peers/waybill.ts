import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { PinnedProcess } from '../processes.ts';
import { findFreePort } from './free-port.ts';
import { toolHost } from '../scenarios.ts';
import type { TokenServiceReady } from '../token-service.ts';
import type { Place, Variant } from '../variants.ts';

/** Entry of the real sidecar. */
export const entry = join(import.meta.dirname, '..', '..', 'proxy', 'main.ts');
const purpose = 'measure the hot path';
const readyMs = 20_000;

/** Proof that a Waybill variant sends with each call. */
export type Proof = 'none' | 'dpop';

/**
 * Starts one real sidecar for each wanted variant, with a token service beside them, and opens a task in each: their clients
 * send its handle. Three rules (allow, require-approval, deny), events to a file, metrics on.
 */
export async function openWaybills(wanted: readonly (readonly [string, Proof])[], place: Place): Promise<Variant[]> {
  const tokenService = new PinnedProcess([join(import.meta.dirname, '..', 'token-service.ts')], place.cores?.load);
  const service = await tokenService.ask<TokenServiceReady>();
  const variants: Variant[] = [];
  for (const [name, proof] of wanted) variants.push(await openWaybill(name, proof, service, place));
  return variants;
}

async function openWaybill(name: string, proof: Proof, service: TokenServiceReady, place: Place): Promise<Variant> {
  const folder = join(place.folder, name);
  mkdirSync(folder, { mode: 0o700 });
  const socket = join(folder, 'operator.sock');
  const secretFile = join(folder, 'client-secret');
  const configFile = join(folder, 'waybill.yaml');
  const log = join(folder, 'sidecar.log');
  const port = await findFreePort();
  writeFileSync(secretFile, service.clientSecret, { mode: 0o600 });
  // Every JSON text is a YAML text.
  writeFileSync(configFile, JSON.stringify(configure(proof, service, { folder, socket, secretFile, port, place })));
  const child = new PinnedProcess(
    ['--disable-sigusr1', entry, 'run', '--config', configFile],
    place.cores?.variant,
    log,
  );
  const handle = await openTask(child, socket, service.subjectToken).catch((error: unknown) => {
    const output = readFileSync(log, 'utf8').slice(-2000);
    throw new Error(`${name} does not open a task: ${String(error)}\n${output}`, { cause: error });
  });
  return {
    name,
    process: child,
    port,
    clientCredential: handle,
    proofs: undefined,
    check: (request) => findFault(request, proof, handle),
  };
}

interface Places {
  readonly folder: string;
  readonly socket: string;
  readonly secretFile: string;
  readonly port: number;
  readonly place: Place;
}

function configure(
  proof: Proof,
  service: TokenServiceReady,
  { folder, socket, secretFile, port, place }: Places,
): object {
  return {
    version: 1,
    agent: { name: 'load-agent', owner: 'load@example.org', purpose, environment: 'test' },
    identity: 'none',
    trust: { issuers: [{ issuer: service.issuer, audience: service.subjectAudience, typ: ['at+jwt'] }] },
    token_services: {
      local: {
        issuer: service.issuer,
        client_auth: 'client_secret_basic',
        client_id: service.clientId,
        client_secret_file: secretFile,
        actor: 'none',
        verify: 'jwt',
      },
    },
    tools: {
      tool: {
        match: { host: toolHost, methods: ['GET'], paths: ['/v1/**'] },
        token: {
          from: 'local',
          resource: service.toolResource,
          audience: [service.toolAudience],
          scopes: [service.toolScope],
          use_for: '10m',
          proof,
        },
        risk: 'read',
        dial: `127.0.0.1:${place.upstreamPort}`,
      },
    },
    rules: [
      { name: 'tool-for-measuring', effect: 'allow', when: `call.tool == "tool" && task.purpose == "${purpose}"` },
      { name: 'four-eyes', effect: 'require-approval', when: 'tool.risk in ["payment", "export"]' },
      { name: 'own-users', effect: 'deny', when: `subject.iss != "${service.issuer}"` },
    ],
    purposes: { [purpose]: { tools: ['tool'], risk: 'read' } },
    ca: { dir: join(folder, 'ca'), publish: join(folder, 'trust') },
    operator: { socket },
    listen: { outbound: `127.0.0.1:${port}`, metrics: '127.0.0.1:0', health: '127.0.0.1:0' },
    record: { file: join(folder, 'events.jsonl') },
  };
}

/** Opens a task through the operator's socket as soon as the sidecar is there, and returns its handle. */
async function openTask(child: PinnedProcess, socketPath: string, subjectToken: string): Promise<string> {
  const deadline = performance.now() + readyMs;
  for (;;) {
    if (!child.alive) throw new Error('the sidecar ended');
    try {
      return await askForTask(socketPath, { subject_token: subjectToken, purpose, tools: ['tool'] });
    } catch (error) {
      const starting =
        error instanceof Error && 'code' in error && ['ENOENT', 'ECONNREFUSED'].includes(String(error.code));
      if (!starting || performance.now() > deadline) throw error;
      await sleep(50);
    }
  }
}

async function askForTask(socketPath: string, order: object): Promise<string> {
  const request = httpRequest({ socketPath, path: '/v1/tasks', method: 'POST' });
  request.setHeader('Content-Type', 'application/json');
  request.end(JSON.stringify(order));
  const [response] = (await once(request, 'response')) as [NodeJS.ReadableStream & { statusCode: number }];
  let text = '';
  for await (const chunk of response) text += String(chunk);
  if (response.statusCode !== 201) throw new Error(`${response.statusCode} ${text}`);
  return (JSON.parse(text) as { handle: string }).handle;
}

/** What is wrong with a request as the tool got it: the agent's handle must be gone, a token and the proof must be there. */
function findFault(request: string, proof: Proof, handle: string): string | undefined {
  if (request.includes(handle)) return 'the handle reached the tool';
  const scheme = proof === 'dpop' ? 'DPoP' : 'Bearer';
  if (!new RegExp(`^authorization: ${scheme} ey`, 'im').test(request)) return `the call carried no ${scheme} token`;
  if (proof === 'dpop' && !/^dpop: ey/im.test(request)) return 'the call carried no proof';
  return undefined;
}
