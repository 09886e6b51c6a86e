import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApiServer, type WorkloadApiServer } from '../../proxy/embedded/workload-api.ts';
import { openFakeTokenService, type FakeTokenService } from '../fakes/token-service.ts';
import { freePort } from './free-port.ts';
import { dial, openTunnel, requestBytes } from './raw-call.ts';
import { openScriptedTool, type ScriptedTool } from './scripted-tool.ts';
import { secretsOfToken, type KnownSecret, type Leftover } from './secret-scan.ts';
import { callOperator } from './sidecar-process.ts';
import { makeToolCertificate } from './tool-certificate.ts';
import { openStage, type Stage } from './way-out-stage.ts';

const operatorToken = 'operators-own-token-8f2b77c1d0e94a55';
const clientSecret = 'client "secret" \\ wïth/odd+characters=0123456789';
const keysFile = 'keys-of-the-test';
const preload = new URL('broken-signing.ts', import.meta.url).pathname;

/** A stage with everything that can hold a secret, which keeps every byte that it answers. */
export class RichStage {
  readonly stage: Stage;
  /** Issues opaque tokens to a client that is known by its JWT-SVID. */
  readonly mesh: FakeTokenService;
  readonly workloadApi: WorkloadApiServer;
  readonly codes = new Set<string>();
  readonly #tools: readonly ScriptedTool[];
  readonly #handles: KnownSecret[] = [];
  readonly #subjects: KnownSecret[] = [];
  readonly #leftovers: Leftover[] = [];

  constructor(stage: Stage, mesh: FakeTokenService, workloadApi: WorkloadApiServer, tools: readonly ScriptedTool[]) {
    this.stage = stage;
    this.mesh = mesh;
    this.workloadApi = workloadApi;
    this.#tools = tools;
  }

  get outbound(): string {
    return this.stage.sidecar.addresses.outbound;
  }

  keep(where: string, bytes: Buffer | string): void {
    this.#leftovers.push({ where, bytes: Buffer.from(bytes as string) });
  }

  /** Opens a task; its answer is the one that may hold handles. */
  async open(sub: string, request: Record<string, unknown> = {}) {
    const token = await this.stage.service.subjectToken({ sub });
    this.#subjects.push(...secretsOfToken(`subject token of ${sub}`, token));
    const answer = await this.operator('POST', '/v1/tasks', { subject_token: token, ...request }, true);
    const { txn, handle, handles } = answer.body as { txn: string; handle: string; handles?: Record<string, string> };
    // The random part alone: what stands before it is the same in all handles of a process.
    for (const text of [handle, ...Object.values(handles ?? {})])
      this.#handles.push({ name: `handle of ${sub}`, value: text.slice(12) });
    return { txn, handle, handles: handles ?? {}, token };
  }

  async operator(method: string, path: string, body?: unknown, secret = false) {
    const answer = await callOperator(this.stage.sidecar.addresses.socket, method, path, body);
    if (!secret) this.keep(`operator's ${method} ${path}`, JSON.stringify(answer.body));
    return answer;
  }

  /** Calls through the proxy, or inside a tunnel, and keeps whatever comes back until the connection ends. */
  async call(url: string, headers: Record<string, string>, options: { method?: string; on?: Socket } = {}) {
    const { host, pathname, search } = new URL(url);
    const all = { Host: host, Connection: 'close', ...headers };
    const target = options.on === undefined ? url : `${pathname}${search}`;
    return this.send(requestBytes(options.method ?? 'GET', target, all), options.on ?? dial(this.outbound));
  }

  mount(path: string, headers: Record<string, string>) {
    return this.send(
      requestBytes('GET', path, { Host: this.outbound, Connection: 'close', ...headers }),
      dial(this.outbound),
    );
  }

  async send(bytes: Buffer | string, socket: Socket, patienceMs = 5000): Promise<string> {
    const parts: Buffer[] = [];
    const timer = setTimeout(() => socket.destroy(), patienceMs);
    const closed = new Promise<void>((done) => socket.once('close', () => done()));
    socket.on('data', (part: Buffer) => parts.push(part)).write(bytes);
    await closed;
    clearTimeout(timer);
    const text = Buffer.concat(parts).toString('latin1');
    this.keep(`answer to ${bytes.toString().split('\r\n')[0]?.slice(0, 40)}`, text);
    const code = /"code":"(?<code>[a-z_]+)"/.exec(text)?.groups?.['code'];
    this.codes.add(code ?? text.slice(9, 12));
    return code ?? text.slice(9, 12);
  }

  async tunnel(host: string, handle: string): Promise<Socket> {
    const ca = readFileSync(this.stage.sidecar.caFile, 'utf8');
    return openTunnel(this.outbound, `${host}:443`, { handle, tls: { ca, serverName: host } });
  }

  async scrape(when: string): Promise<void> {
    const { sidecar } = this.stage;
    this.keep(`metrics ${when}`, await sidecar.metrics());
    this.keep(`readiness ${when}`, await (await fetch(`http://${sidecar.addresses.health}/readyz`)).text());
    for (const name of ['environ', 'cmdline', 'status', 'maps'])
      this.keep(`/proc ${name} ${when}`, readFileSync(`/proc/${sidecar.pid}/${name}`));
  }

  /** Stops the sidecar and gives all that is left of it. */
  async finish(): Promise<{ secrets: KnownSecret[]; leftovers: Leftover[]; keys: string[] }> {
    const { stage, mesh } = this;
    await stage.sidecar.stop();
    this.keep('standard output and error', stage.sidecar.output());
    const keys = readFileSync(join(stage.dir, keysFile), 'utf8').trim().split('\n');
    const own = new Set(['client-secret', 'operator-token', keysFile, 'ca.key', 'operator.sock', 'agent.sock']);
    for (const entry of readdirSync(stage.dir, { recursive: true, withFileTypes: true }))
      if (entry.isFile() && !own.has(entry.name))
        this.keep(entry.name, readFileSync(join(entry.parentPath, entry.name)));
    const authority = readFileSync(join(stage.dir, 'ca', 'ca.key'), 'utf8').replaceAll(/-----[^-]+-----|\s/g, '');
    const presented = [...stage.service.requests, ...mesh.requests].flatMap(({ form }) =>
      ['client_assertion', 'actor_token'].flatMap((name) => form.getAll(name).map((token) => ({ name, token }))),
    );
    return {
      keys,
      leftovers: this.#leftovers,
      secrets: [
        ...this.#handles,
        ...this.#subjects,
        ...keys.flatMap((d) => [
          { name: 'proof key', value: d },
          { name: 'proof key (bytes)', value: Buffer.from(d, 'base64url') },
        ]),
        { name: 'client secret', value: clientSecret },
        { name: 'operator token', value: operatorToken },
        // Its middle: the beginning of a PKCS#8 key is the same for all, and its end is the public part.
        { name: 'key of the pod', value: Buffer.from(authority, 'base64').subarray(36, 68) },
        ...[...stage.service.issued, ...mesh.issued].flatMap((token) => secretsOfToken('issued token', token)),
        ...presented.flatMap(({ name, token }) => secretsOfToken(name, token)),
        ...this.#tools.flatMap(({ requests }) =>
          requests.flatMap(({ headers }) => secretsOfToken('proof', String(headers['dpop'] ?? 'x'.repeat(16)))),
        ),
      ],
    };
  }

  async close(): Promise<void> {
    await this.stage.close();
    await this.mesh.close();
    this.workloadApi.close();
    for (const tool of this.#tools) await tool.close();
  }
}

/** Opens the stage. Tools: crm (bearer), files (https, DPoP with nonces), vault (opaque), moody (refuses tokens), gone, forged. */
export async function openRichStage(): Promise<RichStage> {
  const certificate = await makeToolCertificate('files.test');
  const other = await makeToolCertificate('forged.test');
  const crm = await openScriptedTool((request, response) => {
    if (request.url?.includes('die'))
      response.writeHead(200, { 'content-length': 100 }).write('half', () => request.socket.destroy());
    else if (request.url?.includes('stream')) response.writeHead(200).write('data: 1\n\n');
    else response.end('fine');
  });
  const files = await openScriptedTool((request, response) => {
    const nonced = Buffer.from(String(request.headers['dpop']).split('.')[1] ?? '', 'base64url').includes('"nonce"');
    if (nonced) response.end('fine');
    else response.writeHead(401, { 'dpop-nonce': 'nonce-1', 'www-authenticate': 'DPoP error="use_dpop_nonce"' }).end();
  }, certificate);
  const moody = await openScriptedTool((_request, response) => {
    response.writeHead(401, { 'www-authenticate': 'Bearer error="invalid_token", error_description="old"' }).end();
  });
  const mesh = await openFakeTokenService({ lie: 'opaque' });
  const dir = mkdtempSync(join(tmpdir(), 'waybill-rich-'));
  writeFileSync(join(dir, 'operator-token'), operatorToken);
  writeFileSync(join(dir, keysFile), '');
  const socketPath = join(dir, 'agent.sock');
  const authority = await openAuthority('example.org');
  const spiffeId = 'spiffe://example.org/invoice-bot';
  const workloadApi = await openWorkloadApiServer({
    socketPath,
    authority,
    spiffeId,
    x509TtlSeconds: 600,
    jwtTtlSeconds: 60,
  });
  const stage = await openStage({
    service: { secret: clientSecret },
    corp: { timeout: '300ms', actor: 'jwt-svid' },
    services: {
      mesh: { issuer: mesh.issuer, client_auth: 'spiffe_jwt', verify: 'introspect', timeout: '300ms' },
    },
    tools: {
      crm: { port: crm.port, more: { match: { host: 'crm.test', paths: ['/**'] } } },
      files: { port: files.port, ca: certificate.ca, proof: 'dpop' },
      vault: { port: crm.port, more: { token: { from: 'mesh', audience: 'vault' } } },
      moody: { port: moody.port },
      gone: { port: await freePort() },
      forged: { port: files.port, ca: other.ca },
    },
    sections: {
      identity: { workload_api: `unix://${socketPath}` },
      record: { file: join(dir, 'events.jsonl'), stdout: true },
      operator: {
        socket: join(dir, 'operator.sock'),
        listen: '127.0.0.1:0',
        tokens: { operator: join(dir, 'operator-token') },
      },
    },
    dir,
    start: { env: { ...process.env, NODE_OPTIONS: `--import ${preload}`, WAYBILL_STAGE_KEYS: join(dir, keysFile) } },
  });
  return new RichStage(stage, mesh, workloadApi, [crm, files, moody]);
}
