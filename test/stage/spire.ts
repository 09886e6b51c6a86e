import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../real/programs.ts';
import { freePort } from './free-port.ts';
import { agentConfig, serverConfig, type SpirePlaces } from './spire-config.ts';
import type { SpirePrograms } from './spire-programs.ts';
import { startProgram, type StartedProgram } from './started-program.ts';

/** A registration of workloads at SPIRE. */
export interface SpireEntry {
  /** Path of the SPIFFE ID: `/invoice-bot`. */
  readonly path: string;
  /** What a workload must be, all of it: `unix:uid:0`, `unix:path:/usr/bin/node`. */
  readonly selectors: readonly string[];
  readonly x509TtlSeconds?: number;
  readonly jwtTtlSeconds?: number;
  readonly hint?: string;
  /** Trust domains whose bundles its workloads get as well. */
  readonly federatesWith?: readonly string[];
}

/** An X.509-SVID in files, as `spire-agent api fetch` writes it, PEM. */
export interface FetchedSvid {
  readonly cert: string;
  readonly key: string;
  readonly bundle: string;
}

/** One trust domain on loopback: a SPIRE server, and an agent for this machine. */
export class SpireDomain {
  readonly trustDomain: string;
  readonly #programs: SpirePrograms;
  readonly #places: SpirePlaces;
  readonly #dir: string;
  #server: StartedProgram | undefined;
  #agent: StartedProgram | undefined;
  #fetched = 0;

  constructor(programs: SpirePrograms, places: SpirePlaces, dir: string) {
    this.#programs = programs;
    this.#places = places;
    this.#dir = dir;
    this.trustDomain = places.trustDomain;
  }

  /** Address of the Workload API, as `identity.workload_api` takes it. */
  get workloadApi(): string {
    return `unix://${this.#agentSocket}`;
  }

  /** The server's bundle endpoint, profile https_spiffe: its certificate is the SVID `spiffeId`, verified with the bundle itself. */
  get bundleEndpoint(): { readonly url: string; readonly spiffeId: string } {
    const spiffeId = `spiffe://${this.trustDomain}/spire/server`;
    return { url: `https://127.0.0.1:${this.#places.bundlePort}`, spiffeId };
  }

  /** The selector of workloads that run the Go program of SPIRE's own client, which `fetch` uses. */
  get fetcherPath(): string {
    return this.#programs.agent;
  }

  /** Starts the server, and an agent that it knows by a join token. */
  async start(): Promise<void> {
    const { serverDir, agentDir } = this.#places;
    for (const dir of [serverDir, agentDir]) mkdirSync(join(dir, 'data'), { recursive: true });
    writeFileSync(join(serverDir, 'server.conf'), serverConfig(this.#places));
    writeFileSync(join(agentDir, 'agent.conf'), agentConfig(this.#places));
    await this.startServer();
    writeFileSync(join(agentDir, 'bundle.pem'), await this.bundle('pem'));
    const told = await this.#ask('token', 'generate', '-spiffeID', this.#agentId, '-ttl', '600', '-output', 'json');
    await this.startAgent((JSON.parse(told) as { value: string }).value);
  }

  async startServer(): Promise<void> {
    const { server } = this.#programs;
    const started = startProgram(server, ['run', '-config', join(this.#places.serverDir, 'server.conf')]);
    this.#server = started;
    await started.ready(
      async () => (await run(server, ['healthcheck', '-socketPath', this.#serverSocket])).status === 0,
    );
  }

  /** Without a token an agent that was here before goes on with the keys on its disk. */
  async startAgent(joinToken?: string): Promise<void> {
    const { agent } = this.#programs;
    const token = joinToken === undefined ? [] : ['-joinToken', joinToken];
    const started = startProgram(agent, ['run', '-config', join(this.#places.agentDir, 'agent.conf'), ...token]);
    this.#agent = started;
    await started.ready(async () => (await run(agent, ['healthcheck', '-socketPath', this.#agentSocket])).status === 0);
  }

  /** SIGKILL: its socket stays behind, and nobody answers there. */
  async killAgent(): Promise<void> {
    await this.#agent?.kill();
  }

  async stopServer(): Promise<void> {
    await this.#server?.stop();
  }

  /** Registers workloads of this machine; its id. A running agent hears of it within a second. */
  async createEntry(entry: SpireEntry): Promise<string> {
    const told = await this.#ask('entry', 'create', ...this.#describe(entry), '-output', 'json');
    const { results } = JSON.parse(told) as { results: { entry: { id: string } }[] };
    const id = results[0]?.entry?.id;
    if (id === undefined) throw new Error(`no entry: ${told}`);
    return id;
  }

  /** Replaces a registration. */
  async updateEntry(id: string, entry: SpireEntry): Promise<void> {
    await this.#ask('entry', 'update', '-entryID', id, ...this.#describe(entry));
  }

  async deleteEntry(id: string): Promise<void> {
    await this.#ask('entry', 'delete', '-entryID', id);
  }

  /** The trust bundle: `spiffe` is the JWK set of the bundle endpoint, `pem` the X.509 authorities. */
  bundle(format: 'pem' | 'spiffe'): Promise<string> {
    return this.#ask('bundle', 'show', '-format', format);
  }

  /** Federates with another domain: its bundle now, and from its endpoint from then on. One direction; entries choose by `federatesWith`. */
  async federateWith(other: SpireDomain): Promise<void> {
    const file = join(this.#dir, `${other.trustDomain}.json`);
    writeFileSync(file, await other.bundle('spiffe'));
    const { url, spiffeId } = other.bundleEndpoint;
    const endpoint = [
      '-bundleEndpointURL',
      url,
      '-bundleEndpointProfile',
      'https_spiffe',
      '-endpointSpiffeID',
      spiffeId,
    ];
    const bundle = ['-trustDomainBundlePath', file, '-trustDomainBundleFormat', 'spiffe'];
    await this.#ask('federation', 'create', '-trustDomain', other.trustDomain, ...endpoint, ...bundle);
  }

  /** Ends a federation: entries lose it too, and agents take the bundle back. */
  async partWith(other: SpireDomain): Promise<void> {
    const id = `spiffe://${other.trustDomain}`;
    await this.#ask('federation', 'delete', '-id', id);
    await this.#ask('bundle', 'delete', '-id', id, '-mode', 'dissociate');
  }

  /** Makes the next authority of X.509- or JWT-SVIDs; it stands in the bundle from now on, and signs nothing yet. Its id. */
  async prepareAuthority(kind: 'x509' | 'jwt'): Promise<string> {
    const told = await this.#ask('localauthority', kind, 'prepare', '-output', 'json');
    return (JSON.parse(told) as { prepared_authority: { authority_id: string } }).prepared_authority.authority_id;
  }

  /** From now on it signs; the one before stays in the bundle. */
  async activateAuthority(kind: 'x509' | 'jwt', id: string): Promise<void> {
    await this.#ask('localauthority', kind, 'activate', '-authorityID', id);
  }

  /** The X.509-SVID that the agent gives SPIRE's own client, a workload like any other; asks until there is one, 10 s at most. */
  async fetch(): Promise<FetchedSvid> {
    const { agent } = this.#programs;
    const dir = join(this.#dir, `fetched-${(this.#fetched += 1)}`);
    mkdirSync(dir);
    const args = ['api', 'fetch', 'x509', '-socketPath', this.#agentSocket, '-write', dir];
    const end = performance.now() + 10_000;
    for (;;) {
      const { status, stderr } = await run(agent, args);
      if (status === 0) break;
      if (performance.now() > end) throw new Error(`no SVID for SPIRE's own client: ${stderr}`);
      await sleep(100);
    }
    const read = (name: string): string => readFileSync(join(dir, name), 'utf8');
    const svid = { cert: read('svid.0.pem'), key: read('svid.0.key'), bundle: read('bundle.0.pem') };
    rmSync(dir, { recursive: true });
    return svid;
  }

  /** Ends both, by their pids, and removes their folder. */
  async close(): Promise<void> {
    await this.#agent?.stop();
    await this.#server?.stop();
    rmSync(this.#dir, { recursive: true, force: true });
  }

  get #agentId(): string {
    return `spiffe://${this.trustDomain}/agent-of-this-machine`;
  }

  get #serverSocket(): string {
    return join(this.#places.serverDir, 'api.sock');
  }

  get #agentSocket(): string {
    return join(this.#places.agentDir, 'agent.sock');
  }

  #describe(entry: SpireEntry): string[] {
    const { path, selectors, x509TtlSeconds, jwtTtlSeconds, hint, federatesWith = [] } = entry;
    return [
      '-parentID',
      this.#agentId,
      '-spiffeID',
      `spiffe://${this.trustDomain}${path}`,
      ...selectors.flatMap((selector) => ['-selector', selector]),
      ...federatesWith.flatMap((domain) => ['-federatesWith', `spiffe://${domain}`]),
      ...(x509TtlSeconds === undefined ? [] : ['-x509SVIDTTL', String(x509TtlSeconds)]),
      ...(jwtTtlSeconds === undefined ? [] : ['-jwtSVIDTTL', String(jwtTtlSeconds)]),
      ...(hint === undefined ? [] : ['-hint', hint]),
    ];
  }

  /** Runs a command of `spire-server`. */
  async #ask(...args: string[]): Promise<string> {
    const [verb = '', noun = '', ...rest] = args;
    const nouns = verb === 'localauthority' ? [noun, rest.shift() ?? ''] : [noun];
    const all = [verb, ...nouns, '-socketPath', this.#serverSocket, ...rest];
    const { status, stdout, stderr } = await run(this.#programs.server, all);
    if (status !== 0) throw new Error(`spire-server ${args.join(' ')}: ${stderr}${stdout.toString()}`);
    return stdout.toString();
  }
}

/** Starts a trust domain, and says so. */
export async function openSpire(programs: SpirePrograms, trustDomain: string): Promise<SpireDomain> {
  // Paths of unix sockets have 107 bytes.
  const dir = mkdtempSync(join(tmpdir(), 'spire-'));
  const places = {
    trustDomain,
    serverDir: join(dir, 'server'),
    agentDir: join(dir, 'agent'),
    serverPort: await freePort(),
    bundlePort: await freePort(),
  };
  const domain = new SpireDomain(programs, places, dir);
  try {
    await domain.start();
  } catch (error) {
    await domain.close();
    throw error;
  }
  console.log(
    `SPIRE of ${trustDomain}: Workload API ${domain.workloadApi}, bundle endpoint ${domain.bundleEndpoint.url}`,
  );
  return domain;
}
