import type { HeldToken } from '../exchange/custody.ts';
import type { Task } from '../tasks/task.ts';

/** The workload beside us, as the inventory tells it. Times are milliseconds since the epoch. */
export interface AgentFacts {
  readonly name: string;
  readonly owner: string;
  readonly purpose: string;
  readonly environment: string;
  /** Empty while there is no identity. */
  readonly spiffeId: string;
  readonly svidExpiresAtMs: number | undefined;
  readonly svidRotatedAtMs: number | undefined;
  readonly svidRotations: number;
}

/** A static key of a tool. */
export interface SecretFacts {
  readonly tool: string;
  /** Where it is read from: one file, or those of a user name and a password. */
  readonly files: readonly string[];
  /** First 16 hex digits of its SHA-256; undefined while nobody has used it. */
  readonly id: string | undefined;
  readonly lastRotatedAtMs: number | undefined;
  readonly lastUsedAtMs: number | undefined;
}

/** Where the inventory looks: nothing is kept for it, so that it cannot be wrong about what is. */
export interface InventorySources {
  agent(): AgentFacts;
  /** Open ones. */
  tasks(): readonly Task[];
  tokens(): readonly HeldToken[];
  secrets(): readonly SecretFacts[];
  /** Binding level of a tool. */
  bindingOf(tool: string): string;
}

/** The answer of `GET /v1/inventory` (WIRE 1): names, times and digests, never a text that could be used (W8). */
export function takeInventory(sources: InventorySources): Record<string, readonly object[]> {
  const agent = sources.agent();
  const tasks = new Map(sources.tasks().map((task) => [task.txn, task]));
  const tokens = sources
    .tokens()
    .map((held) => describeToken(held, tasks.get(held.txn), agent, sources.bindingOf(held.tool)));
  const secrets = sources.secrets().map((secret) => describeSecret(secret, agent));
  return {
    agents: [describeAgent(agent)],
    credentials: [...tokens, ...secrets],
    tasks: [...tasks.values()].map((task) => describeTask(task, agent)),
  };
}

function describeAgent(agent: AgentFacts): object {
  const { name, owner, purpose, environment, spiffeId } = agent;
  return {
    spiffe_id: spiffeId === '' ? undefined : spiffeId,
    name,
    owner,
    purpose,
    environment,
    svid_expires_at: timeOf(agent.svidExpiresAtMs),
    last_rotated_at: timeOf(agent.svidRotatedAtMs),
    svid_rotations: agent.svidRotations,
    revoke: command('--agent', spiffeId === '' ? name : spiffeId),
  };
}

function describeToken(
  { txn, tool, token }: HeldToken,
  task: Task | undefined,
  { owner }: AgentFacts,
  binding: string,
): object {
  return {
    kind: 'token',
    id: token.id,
    service: token.service,
    tool,
    txn,
    owner,
    purpose: task?.purpose,
    audience: token.audience,
    scopes: token.scopes,
    binding,
    issued_at: timeOf(token.issuedAtMs),
    last_used_at: timeOf(token.lastUsedAtMs),
    expires_at: timeOf(token.expiresAtMs),
    revoke: command('--task', txn),
  };
}

function describeSecret({ tool, files, id, lastRotatedAtMs, lastUsedAtMs }: SecretFacts, agent: AgentFacts): object {
  return {
    kind: 'secret',
    id,
    service: `secret:${tool}`,
    tool,
    owner: agent.owner,
    purpose: agent.purpose,
    scopes: [],
    binding: 'static',
    files,
    last_used_at: timeOf(lastUsedAtMs),
    last_rotated_at: timeOf(lastRotatedAtMs),
    // Nobody but the tool's owner can take a static key back; we can only stop its use.
    revoke: `${command('--tool', tool)}, and a new key in ${files.join(' and ')}`,
  };
}

function describeTask(task: Task, { owner }: AgentFacts): object {
  return {
    txn: task.txn,
    state: task.state,
    subject: { iss: task.subject.iss, sub: task.subject.sub },
    caller: task.caller === '' ? undefined : task.caller,
    owner,
    purpose: task.purpose,
    tools: [...task.tools],
    opened_at: timeOf(task.openedAtMs),
    expires_at: Number.isFinite(task.expiresAtMs) ? timeOf(task.expiresAtMs) : undefined,
    parent: task.parent?.txn,
    standing: task.standing ? true : undefined,
    revoke: command('--task', task.txn),
  };
}

function timeOf(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : new Date(ms).toISOString();
}

/** For a shell: a name may hold anything. */
function command(option: string, name: string): string {
  const word = /^[A-Za-z0-9_./:-]+$/.test(name) ? name : `'${name.replaceAll("'", `'\\''`)}'`;
  return `waybill revoke ${option} ${word} --reason …`;
}
