import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

const launcher = fileURLToPath(new URL('../../proxy/launch.js', import.meta.url));

/** A real sidecar in its own process and folder. */
export interface SidecarProcess {
  readonly pid: number;
  readonly dir: string;
  readonly addresses: {
    outbound: string;
    /** With `inbound` in the configuration. */
    inbound?: string;
    metrics: string;
    health: string;
    socket: string;
    operator?: string;
    /** With `signals` in the configuration. */
    signals?: string;
  };
  /** PEM of the pod's CA, as published for the agent. */
  readonly caFile: string;
  readonly eventsFile: string;
  events(): Record<string, unknown>[];
  /** Everything that it printed. */
  output(): string;
  metrics(): Promise<string>;
  /** Value of one series, by its exact text before the number; 0 where it is absent. */
  metric(series: string): Promise<number>;
  /** SIGTERM, and waits for the end. */
  stop(): Promise<number | null>;
  kill(): Promise<void>;
}

export interface StartOptions {
  /** Start again in the folder of an earlier one. */
  readonly dir?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Descriptor that becomes its standard output; by default that is read here, and part of `output()`. */
  readonly stdout?: number;
}

/**
 * Starts `waybill run` with this configuration. Sections that say where things are (listen, operator, ca, record) are added, with free
 * ports and a folder of its own, unless the text has them.
 */
export async function startSidecar(yaml: string, options: StartOptions = {}): Promise<SidecarProcess> {
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'waybill-stage-'));
  const configFile = join(dir, 'waybill.yaml');
  writeFileSync(configFile, withPlaces(yaml, dir));
  const child = spawn(process.execPath, [launcher, 'run', '--config', configFile], {
    stdio: ['ignore', options.stdout ?? 'pipe', 'pipe'],
    env: options.env ?? process.env,
  });
  let printed = '';
  const ready = Promise.withResolvers<SidecarProcess['addresses']>();
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      printed += chunk;
      if (!chunk.includes('\n')) return;
      const line = printed.split('\n').find((candidate) => candidate.includes('"msg":"ready"'));
      if (line !== undefined) ready.resolve((JSON.parse(line) as { addresses: SidecarProcess['addresses'] }).addresses);
    });
  }
  const exited = new Promise<number | null>((done) => child.once('exit', (code) => done(code)));
  void exited.then((code) => ready.reject(new Error(`the sidecar ended with ${code}: ${printed}`)));
  const addresses = await ready.promise;
  return describe(child, dir, addresses, exited, () => printed);
}

function describe(
  child: ChildProcess,
  dir: string,
  addresses: SidecarProcess['addresses'],
  exited: Promise<number | null>,
  output: () => string,
): SidecarProcess {
  const eventsFile = join(dir, 'events.jsonl');
  const metrics = async (): Promise<string> => (await fetch(`http://${addresses.metrics}/metrics`)).text();
  return {
    pid: child.pid ?? 0,
    dir,
    addresses,
    caFile: join(dir, 'trust', 'ca.pem'),
    eventsFile,
    output,
    metrics,
    events: () => readEvents(eventsFile),
    async metric(series) {
      const line = (await metrics()).split('\n').find((candidate) => candidate.startsWith(`${series} `));
      return Number(line?.slice(series.length + 1) ?? 0);
    },
    stop: () => {
      child.kill('SIGTERM');
      return exited;
    },
    async kill() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** The lines of a record. A torn last line, as a killed process leaves it, is not among them. */
function readEvents(file: string): Record<string, unknown>[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

function withPlaces(yaml: string, dir: string): string {
  const sections: Record<string, string> = {
    version: 'version: 1',
    agent: 'agent: { name: invoice-bot, purpose: reconcile }',
    listen:
      'listen: { outbound: "127.0.0.1:0", inbound: "127.0.0.1:0", metrics: "127.0.0.1:0", health: "127.0.0.1:0" }',
    operator: `operator: { socket: "${dir}/operator.sock" }`,
    ca: `ca: { dir: "${dir}/ca", publish: "${dir}/trust" }`,
    record: `record: { file: "${dir}/events.jsonl" }`,
  };
  const missing = Object.entries(sections).filter(([name]) => !new RegExp(`^${name}:`, 'm').test(yaml));
  return `${missing.map(([, section]) => section).join('\n')}\n${yaml}\n`;
}

export function removeFolder(dir: string): void {
  rmSync(dir, { recursive: true, force: true });
}

export interface ApiAnswer {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

/** Calls the operator's API over its socket. */
export async function callOperator(
  socketPath: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<ApiAnswer> {
  const response = await new Promise<import('node:http').IncomingMessage>((resolve, reject) => {
    const sent = request({ socketPath, method, path, headers: { 'content-type': 'application/json' } }, resolve);
    sent.once('error', reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
  return { status: response.statusCode ?? 0, body: JSON.parse(await text(response)) as Record<string, unknown> };
}

export interface StagedTask {
  readonly txn: string;
  readonly handle: string;
  readonly handles: Record<string, string>;
  readonly proxy: string;
}

/** Opens a task through the operator's socket; throws where it is refused. */
export async function openTask(sidecar: SidecarProcess, request_: Record<string, unknown>): Promise<StagedTask> {
  const answer = await callOperator(sidecar.addresses.socket, 'POST', '/v1/tasks', request_);
  if (answer.status !== 201) throw new Error(`the task was refused: ${JSON.stringify(answer)}`);
  return answer.body as unknown as StagedTask;
}
