import { generateKeyPairSync, hash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ProofKey } from '../../proxy/proofs/dpop.ts';
import { PinnedProcess } from '../processes.ts';
import type { ProofOrder } from '../proofs.ts';
import { agentOrigin, agentUrl } from '../scenarios.ts';
import type { CallerToken, TokenServiceReady } from '../token-service.ts';
import type { Place, Variant } from '../variants.ts';
import { findFreePort } from './free-port.ts';
import { entry } from './waybill.ts';

const readyMs = 20_000;

/** A user's client: a key, and a token of the load test's token service that is bound to it. */
export interface Caller {
  readonly issuer: string;
  readonly token: string;
  /** The proofs of a round, for the server that this nonce is of. */
  proofs(count: number, nonce: string): ProofOrder;
}

/** Makes the one caller of all variants of the way in. */
export async function openCaller(place: Place): Promise<Caller> {
  const service = new PinnedProcess([join(import.meta.dirname, '..', 'token-service.ts')], place.cores?.load);
  const { issuer } = await service.ask<TokenServiceReady>();
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { token } = await service.ask<CallerToken>({ audience: agentOrigin, jkt: new ProofKey(privateKey).jkt });
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
  const ath = hash('sha256', token, 'base64url');
  return {
    issuer,
    token,
    proofs: (count, nonce) => ({ count, privateKey: pem, htm: 'GET', htu: agentUrl, ath, nonce, reusable: false }),
  };
}

/** The program behind the way in, and what it gets to see of its caller: the settings of `inbound` of these names. */
export interface Behind {
  readonly program: 'agent' | 'tool';
  readonly present: 'inert-jwt' | 'handle' | 'original';
}

/** What the program has to get in `Authorization`: a tool checks the token itself, an agent must not hold it. */
const credentials: Readonly<Record<Behind['present'], RegExp>> = {
  'inert-jwt': /^authorization: Bearer ey/im,
  handle: /^authorization: Bearer wbh_/im,
  original: /^authorization: DPoP ey/im,
};

/**
 * Starts a real sidecar with a way in before the static upstream: tokens with DPoP, nonces, memory ledger, a task per request that
 * ends 2 s after its answer, three rules, events to a file, metrics on.
 */
export async function openWayIn(name: string, behind: Behind, caller: Caller, place: Place): Promise<Variant> {
  const folder = join(place.folder, name);
  mkdirSync(folder, { mode: 0o700 });
  const port = await findFreePort();
  const configFile = join(folder, 'waybill.yaml');
  const log = join(folder, 'sidecar.log');
  // Every JSON text is a YAML text.
  writeFileSync(configFile, JSON.stringify(configure(caller, behind, folder, port, place)));
  const child = new PinnedProcess(
    ['--disable-sigusr1', entry, 'run', '--config', configFile],
    place.cores?.variant,
    log,
  );
  await waitFor(child, port, caller.token).catch((error: unknown) => {
    const output = readFileSync(log, 'utf8').slice(-2000);
    throw new Error(`${name} does not come up: ${String(error)}\n${output}`, { cause: error });
  });
  return {
    name,
    process: child,
    port,
    clientCredential: caller.token,
    proofs: async (count) => caller.proofs(count, await askForNonce(port, caller.token)),
    check: (request) => findFault(request, caller.token, behind),
  };
}

function configure({ issuer }: Caller, behind: Behind, folder: string, port: number, place: Place): object {
  return {
    version: 1,
    agent: { name: 'load-agent', owner: 'load@example.org', purpose: 'measure the hot path', environment: 'test' },
    identity: 'none',
    trust: { issuers: [{ issuer }] },
    inbound: {
      origin: agentOrigin,
      accept: [{ issuer, proof: 'dpop' }],
      ...behind,
      forward_to: `http://127.0.0.1:${place.upstreamPort}`,
    },
    // One caller makes all the load, and may hold a quarter of the open tasks: those of the last 2 s.
    tasks: { max_open: 200_000 },
    rules: [
      { name: 'callers', effect: 'allow', when: `call.tool == "${behind.program}" && subject.sub == "alice"` },
      { name: 'four-eyes', effect: 'require-approval', when: 'tool.risk in ["payment", "export"]' },
      { name: 'own-users', effect: 'deny', when: `subject.iss != "${issuer}"` },
    ],
    ca: { dir: join(folder, 'ca'), publish: join(folder, 'trust') },
    operator: { socket: join(folder, 'operator.sock') },
    listen: {
      inbound: `127.0.0.1:${port}`,
      outbound: '127.0.0.1:0',
      metrics: '127.0.0.1:0',
      health: '127.0.0.1:0',
    },
    record: { file: join(folder, 'events.jsonl') },
  };
}

async function waitFor(child: PinnedProcess, port: number, token: string): Promise<void> {
  const deadline = performance.now() + readyMs;
  for (;;) {
    if (!child.alive) throw new Error('the sidecar ended');
    try {
      await askForNonce(port, token);
      return;
    } catch (error) {
      const starting = error instanceof Error && 'code' in error && error.code === 'ECONNREFUSED';
      if (!starting || performance.now() > deadline) throw error;
      await sleep(50);
    }
  }
}

/** A request without proof is refused, and the refusal carries the nonce. */
async function askForNonce(port: number, token: string): Promise<string> {
  const request = httpRequest({ host: '127.0.0.1', port, path: new URL(agentUrl).pathname, agent: false });
  request.setHeader('Host', new URL(agentOrigin).host).setHeader('Authorization', `DPoP ${token}`).end();
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  response.resume();
  const nonce = response.headers['dpop-nonce'];
  if (typeof nonce !== 'string') throw new Error(`${response.statusCode} without a nonce`);
  return nonce;
}

/** What is wrong with a request as the program got it. */
function findFault(request: string, token: string, { program, present }: Behind): string | undefined {
  const isTool = program === 'tool';
  if (request.includes(isTool ? `: DPoP ${token}` : token) !== isTool)
    return isTool ? 'the token did not arrive' : 'an agent got its caller’s token';
  if (/^dpop:/im.test(request) !== isTool)
    return isTool ? 'the proof did not arrive' : 'an agent got its caller’s proof';
  return credentials[present].test(request) ? undefined : `what arrived is no ${present}`;
}
