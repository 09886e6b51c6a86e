import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../real/programs.ts';
import { installPrograms } from './apt-programs.ts';
import { freePort } from './free-port.ts';

const sources = join(import.meta.dirname, '..', 'real', 'spring');
const files = ['pom.xml', 'src/main/java/waybill/AuthorizationServer.java'];
const java = 'java';
const buildMs = 600_000;
const readyMs = 120_000;

/** Spring Authorization Server in its own process, with the user `alice` and the clients `web`, `agent` and `worker`. */
export interface SpringServer {
  readonly issuer: string;
  /** Secret of a client, password of a user. */
  secretOf(name: string): string;
  /** An access token of alice from a fresh login with the code flow, for the client `web`, with the audience `agent`. */
  login(): Promise<string>;
  /** One call of its OAuth endpoints as a client; the answer's status and JSON. */
  ask(client: string, path: string, form: Record<string, string>): Promise<SpringAnswer>;
  /** SIGTERM, and waits for the end. */
  stop(): Promise<void>;
}

export interface SpringAnswer {
  readonly status: number;
  readonly json: Record<string, unknown>;
}

/** What may be had of it: the built server, or why there is none (for `context.skip`). */
export type SpringJar = { readonly jar: string } | { readonly missing: string };

/** Builds the server with Maven, or finds the one that was built from the same sources before. Says what it does. */
export async function buildSpring(): Promise<SpringJar> {
  const missing = installPrograms({ javac: 'openjdk-17-jdk-headless', mvn: 'maven' });
  if (missing !== undefined) return { missing };
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'waybill-real');
  const jar = join(cache, `spring-${digestOfSources()}.jar`);
  if (existsSync(jar)) return { jar };
  console.log('builds with Maven: Spring Authorization Server of Spring Boot 4.1.2');
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, 'spring-build-'));
  try {
    cpSync(sources, folder, { recursive: true });
    const maven = await run('mvn', ['-q', '-B', '-DskipTests', 'package'], { cwd: folder, timeoutMs: buildMs });
    const built = join(folder, 'target', 'authorization-server-1.jar');
    if (maven.status !== 0 || !existsSync(built)) {
      return { missing: `Maven could not build the server: ${maven.stdout.toString().slice(0, 300)}` };
    }
    // Moved whole: a server that runs has its jar open, and a half-written one must not be found by anybody.
    renameSync(built, jar);
    return { jar };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function digestOfSources(): string {
  const hash = createHash('sha256');
  for (const file of files) hash.update(readFileSync(join(sources, file)));
  return hash.digest('hex').slice(0, 16);
}

/** Starts it on a free port of loopback and waits until it answers. Throws what it printed where it does not get ready. */
export async function startSpring(jar: string): Promise<SpringServer> {
  const port = await freePort();
  const issuer = `http://127.0.0.1:${port}`;
  const secret = randomBytes(16).toString('hex');
  const args = [
    '-Xmx256m',
    '-XX:TieredStopAtLevel=1',
    '-jar',
    jar,
    `--server.port=${port}`,
    '--server.address=127.0.0.1',
  ];
  const child = spawn(java, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    // Not as arguments, which every user of the machine can read.
    env: { ...process.env, WAYBILL_ISSUER: issuer, WAYBILL_SECRET: secret },
  });
  const stop = await untilReady(child, `${issuer}/.well-known/oauth-authorization-server`);
  const secretOf = (name: string): string => `${secret}-${name}`;
  const ask: SpringServer['ask'] = async (client, path, form) => {
    const authorization = `Basic ${Buffer.from(`${client}:${secretOf(client)}`).toString('base64')}`;
    const body = new URLSearchParams(form);
    const response = await fetch(issuer + path, { method: 'POST', headers: { authorization }, body });
    const text = await response.text();
    return { status: response.status, json: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>) };
  };
  return { issuer, secretOf, ask, stop, login: () => logIn(issuer, secretOf('alice'), ask) };
}

async function untilReady(child: ChildProcess, url: string): Promise<() => Promise<void>> {
  let printed = '';
  let ended = false;
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => (printed = (printed + chunk).slice(-8000)));
  }
  const exited = new Promise<void>((done) => child.once('error', () => done()).once('exit', () => done()));
  void exited.then(() => (ended = true));
  const end = performance.now() + readyMs;
  const isReady = (): Promise<boolean> =>
    fetch(url).then(
      ({ ok }) => ok,
      () => false,
    );
  while (!(await isReady())) {
    if (!ended && performance.now() < end) {
      await sleep(100);
      continue;
    }
    child.kill('SIGKILL');
    throw new Error(`the authorization server does not get ready: ${printed}`);
  }
  return async () => {
    child.kill('SIGTERM');
    await exited;
  };
}

/** As a browser does it: the authorization request, the form of the login page, the code, and the token for it (RFC 7636). */
async function logIn(issuer: string, password: string, ask: SpringServer['ask']): Promise<string> {
  const redirectUri = 'http://127.0.0.1/callback';
  const verifier = randomBytes(32).toString('base64url');
  const request = new URLSearchParams({
    response_type: 'code',
    client_id: 'web',
    redirect_uri: redirectUri,
    scope: 'notes.read',
    state: randomBytes(8).toString('hex'),
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  });
  const authorize = `${issuer}/oauth2/authorize?${request.toString()}`;
  const browser = openBrowser();
  await browser(authorize);
  const page = await (await browser(`${issuer}/login`)).text();
  const csrf = /name="_csrf"[^>]*value="([^"]+)"/.exec(page)?.[1] ?? '';
  await browser(`${issuer}/login`, new URLSearchParams({ username: 'alice', password, _csrf: csrf }));
  const answer = await browser(authorize);
  const code = URL.parse(answer.headers.get('location') ?? '')?.searchParams.get('code');
  if (code === null || code === undefined) throw new Error(`the login gave no code: ${answer.status}`);
  const form = { grant_type: 'authorization_code', code, redirect_uri: redirectUri, code_verifier: verifier };
  const { status, json } = await ask('web', '/oauth2/token', form);
  if (status !== 200) throw new Error(`the code gave no token: ${status} ${JSON.stringify(json)}`);
  return String(json['access_token']);
}

/** Keeps cookies and follows nothing by itself. */
function openBrowser(): (url: string, form?: URLSearchParams) => Promise<Response> {
  const cookies = new Map<string, string>();
  return async (url, form) => {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const headers = { accept: 'text/html', cookie };
    const init = form === undefined ? { headers } : { headers, method: 'POST', body: form };
    const response = await fetch(url, { ...init, redirect: 'manual' });
    for (const line of response.headers.getSetCookie()) {
      const [pair = ''] = line.split(';', 1);
      cookies.set(pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1));
    }
    return response;
  };
}
