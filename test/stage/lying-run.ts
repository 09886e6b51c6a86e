import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApiServer } from '../../proxy/embedded/workload-api.ts';
import type { Lie } from '../fakes/token-service-lies.ts';
import { openEchoTool } from './echo-tool.ts';
import { readRecord, type RecordedEvent } from './event-record.ts';
import { callThrough, type RawAnswer } from './raw-call.ts';
import type { KnownSecret, Leftover } from './secret-scan.ts';
import { secretsOfToken } from './secret-scan.ts';
import { openStage, type Stage } from './way-out-stage.ts';

/** One lie, told to one task: what the agent was answered, and what the service was asked. */
export interface Told {
  readonly lie: Lie;
  readonly txn: string;
  readonly first: RawAnswer;
  readonly firstMs: number;
  /** At once after it. */
  readonly second: RawAnswer;
  /** Requests to the token endpoint during the first call, and during the second. */
  readonly asked: readonly [number, number];
  /** Tokens that the service issued and lied about. */
  readonly issued: readonly string[];
  /** When the service is honest again, and refusals are no longer repeated. */
  readonly after: RawAnswer;
  readonly askedAfter: number;
}

/** What was left of it all. */
export interface LyingRun {
  readonly told: ReadonlyMap<Lie, Told>;
  /** Calls and connections that tools had while the service lied. */
  readonly reached: number;
  readonly revoked: readonly string[];
  /** `Authorization` of the calls that the tools saw in the end. */
  readonly used: readonly string[];
  readonly events: readonly RecordedEvent[];
  readonly metrics: string;
  readonly secrets: readonly KnownSecret[];
  readonly leftovers: readonly Leftover[];
}

/** The inbound chain of every subject: what cutting and extending show at. */
const planner = { sub: 'spiffe://example.org/planner' };

/**
 * Starts a sidecar with a SPIFFE identity at a token service with everything (actor, DPoP, discovery, revocation) and lets the service
 * tell each lie to a task of its own. Nothing runs any more when this returns.
 */
export async function tellLies(lies: readonly Lie[], boundLies: ReadonlySet<Lie>): Promise<LyingRun> {
  const dir = mkdtempSync(join(tmpdir(), 'waybill-lies-'));
  const socketPath = join(dir, 'agent.sock');
  const workloadApi = await openWorkloadApiServer({
    socketPath,
    authority: await openAuthority('example.org'),
    spiffeId: 'spiffe://example.org/invoice-bot',
    x509TtlSeconds: 600,
    jwtTtlSeconds: 60,
  });
  const tool = await openEchoTool();
  const calm = await openEchoTool();
  const stage = await openStage({
    dir,
    tools: { crm: { port: tool.port }, bound: { port: tool.port, proof: 'dpop' }, calm: { port: calm.port } },
    corp: {
      client_auth: 'spiffe_jwt',
      client_id: undefined,
      client_secret_file: undefined,
      actor: 'jwt-svid',
      timeout: '400ms',
    },
    sections: { identity: { workload_api: `unix://${socketPath}` } },
  });
  try {
    return await tell(stage, tool, lies, boundLies);
  } finally {
    await stage.close();
    workloadApi.close();
    await Promise.all([tool.close(), calm.close()]);
  }
}

/** An exchange that is well, at another tool: a service that does nothing but lie is soon not asked any more. */
async function beHonest(stage: Stage): Promise<void> {
  stage.service.lie = undefined;
  const { handle } = await stage.task('carol');
  await callThrough(stage.sidecar.addresses.outbound, 'http://calm.test/', { handle });
}

async function tell(
  stage: Stage,
  tool: Awaited<ReturnType<typeof openEchoTool>>,
  lies: readonly Lie[],
  boundLies: ReadonlySet<Lie>,
): Promise<LyingRun> {
  const { service } = stage;
  const secrets: KnownSecret[] = [];
  const answers: RawAnswer[] = [];
  const begun: (Omit<Told, 'after' | 'askedAfter'> & { call: () => Promise<RawAnswer> })[] = [];
  for (const lie of lies) {
    const subject = await service.subjectToken({ act: planner });
    const { txn, handle } = await stage.task('', { subject_token: subject });
    secrets.push(...secretsOfToken('subject token', subject), { name: 'handle', value: handle.slice(12) });
    const call = async (): Promise<RawAnswer> => {
      const url = `http://${boundLies.has(lie) ? 'bound' : 'crm'}.test/${lie}?q=1`;
      const answer = await callThrough(stage.sidecar.addresses.outbound, url, { handle });
      answers.push(answer);
      return answer;
    };
    service.lie = lie;
    const before = service.counts.token;
    const issuedBefore = service.issued.length;
    const startedAt = performance.now();
    const first = await call();
    const firstMs = performance.now() - startedAt;
    const between = service.counts.token;
    const second = await call();
    const asked = [between - before, service.counts.token - between] as const;
    begun.push({ lie, txn, first, firstMs, second, asked, issued: service.issued.slice(issuedBefore), call });
    await beHonest(stage);
  }
  const reached = tool.seen.length + tool.connections();
  service.lie = undefined;
  // Refusals are repeated for at most five seconds.
  await sleep(5100);
  const told = new Map<Lie, Told>();
  for (const { call, ...rest } of begun) {
    const before = service.counts.token;
    told.set(rest.lie, { ...rest, after: await call(), askedAfter: service.counts.token - before });
  }
  const { requests, issued, revoked } = service;
  const metrics = await stage.sidecar.metrics();
  const proc = ['environ', 'cmdline'].map((name) => readFileSync(`/proc/${stage.sidecar.pid}/${name}`, 'latin1'));
  await stage.sidecar.stop();
  const sent = requests.flatMap(({ form }) => ['client_assertion', 'actor_token'].flatMap((name) => form.getAll(name)));
  // Tokens of tasks that go on are revoked by the stop; only what was revoked for its lie is of interest.
  return {
    told,
    reached,
    revoked,
    used: tool.seen.map(({ headers }) => headers.authorization ?? ''),
    events: readRecord(stage.sidecar.eventsFile),
    metrics,
    secrets: [
      ...secrets,
      ...issued.flatMap((token) => secretsOfToken('issued token', token)),
      ...sent.flatMap((token) => secretsOfToken('assertion', token)),
    ],
    leftovers: [
      ...answers.map(({ body, headers }) => ({
        where: 'an answer',
        bytes: Buffer.from(body + JSON.stringify(headers)),
      })),
      ...[
        ['output', stage.sidecar.output()],
        ['metrics', metrics],
        ['events', readFileSync(stage.sidecar.eventsFile)],
        ['/proc', proc.join()],
      ].map(([where, text]) => ({ where: String(where), bytes: Buffer.from(text as string) })),
    ],
  };
}
