import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from './free-port.ts';

/** A Keycloak that answers. */
export interface KeycloakProcess {
  /** `http://127.0.0.1:PORT`, which its issuers begin with. */
  readonly url: string;
  /** Everything that it printed. */
  output(): string;
  stop(): Promise<void>;
}

/** Far more than a start takes: the machine may be busy with something else. */
const readyMs = 180_000;
const stopMs = 20_000;

/** Little memory and a quick start, in place of long throughput. */
const javaOptions = { JAVA_OPTS_APPEND: '-XX:TieredStopAtLevel=1', JAVA_OPTS_KC_HEAP: '-Xms64m -Xmx256m' };

/** Starts a built Keycloak on free ports of loopback and waits until it is ready; realms in `data/import` are imported. */
export async function startKeycloakProcess(home: string): Promise<KeycloakProcess> {
  const port = await freePort();
  const managementPort = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const options = {
    // Else JGroups binds ports of every interface.
    cache: 'local',
    'http-enabled': 'true',
    // Else the issuer is whatever a request calls it.
    hostname: url,
    'http-host': '127.0.0.1',
    'http-port': port,
    'http-management-host': '127.0.0.1',
    'http-management-port': managementPort,
  };
  const args = Object.entries(options).map(([name, value]) => `--${name}=${value}`);
  const child = spawn(join(home, 'bin', 'kc.sh'), ['start', '--optimized', '--import-realm', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...javaOptions },
    // A group of its own: the script stands before the Java process, and both have to end.
    detached: true,
  });
  let printed = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (chunk: string) => (printed += chunk));
  const exited = new Promise<void>((done) => {
    child.once('error', () => done()).once('exit', () => done());
  });
  const keycloak = { url, output: () => printed, stop: () => stop(child, exited) };
  try {
    await becomeReady(`http://127.0.0.1:${managementPort}/health/ready`, exited);
  } catch (error) {
    await keycloak.stop();
    throw new Error(`${String(error)}: ${printed.slice(-2000)}`, { cause: error });
  }
  return keycloak;
}

async function becomeReady(url: string, exited: Promise<void>): Promise<void> {
  let ended = false;
  void exited.then(() => (ended = true));
  const end = performance.now() + readyMs;
  while (!(await isOk(url))) {
    if (ended) throw new Error('Keycloak ended');
    if (performance.now() > end) throw new Error(`Keycloak is not ready after ${readyMs} ms`);
    await sleep(500);
  }
}

async function isOk(url: string): Promise<boolean> {
  return fetch(url).then(
    async (response) => {
      await response.body?.cancel();
      return response.ok;
    },
    () => false,
  );
}

/** SIGTERM, which the script passes on; SIGKILL to both where that takes too long. */
async function stop(child: ChildProcess, exited: Promise<void>): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null) return;
  child.kill('SIGTERM');
  const timer = setTimeout(() => process.kill(-(child.pid ?? 0), 'SIGKILL'), stopMs);
  await exited;
  clearTimeout(timer);
}
