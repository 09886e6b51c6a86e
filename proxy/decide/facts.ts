/**
 * What rules may read (DESIGN 8). Every fact is always present: one that does not apply is "" (or an empty list), never null, so that
 * a rule cannot fail because something is missing.
 */
export interface AgentFacts {
  readonly name: string;
  readonly owner: string;
  readonly purpose: string;
  readonly environment: string;
  /** "" while the workload has no identity. Rules are compiled anew when it changes, since they were decided with the old one. */
  readonly spiffe_id: string;
}

export interface ToolFacts {
  readonly name: string;
  readonly risk: string;
  readonly sensitivity: string;
  /** The binding level of DESIGN 7. */
  readonly binding: string;
}

/** All that is fixed while a task lives, with those it works for. */
export interface TaskFacts {
  readonly txn: string;
  readonly purpose: string;
  readonly mode: string;
  readonly tools: readonly string[];
  readonly subject: { readonly iss: string; readonly sub: string };
  readonly caller: { readonly spiffe_id: string };
  /** SPIFFE IDs of the hops before us, oldest first, and how many. */
  readonly chain: { readonly path: readonly string[]; readonly length: number };
}

/** One call, as the rules see it. The tool is not here: `call.tool` is the name of the tool that the rules were prepared for. */
export interface CallFacts {
  readonly method: string;
  readonly scheme: string;
  readonly host: string;
  readonly port: number;
  /** As it will be forwarded, without the query. */
  readonly path: string;
  /** Absent for calls that are not MCP; rules then read "". */
  readonly mcp?: { readonly tool: string; readonly args_digest: string } | undefined;
}

/** When a fact is known: at load for each tool, when a task first meets a tool, or only with the call. */
export type Moment = 'tool' | 'task' | 'call';

interface Fact {
  readonly type: 'string' | 'int' | 'strings' | 'timestamp';
  readonly known: Moment;
  /** Set where the values are a closed list: a rule that compares with anything else is a mistake. */
  readonly values?: readonly string[];
}

const text = (known: Moment, values?: readonly string[]): Fact =>
  values === undefined ? { type: 'string', known } : { type: 'string', known, values };

/** The one list of variables: the checker, the split of DESIGN 12 and the bindings read it. */
export const facts = {
  environment: text('tool'),
  'agent.name': text('tool'),
  'agent.owner': text('tool'),
  'agent.purpose': text('tool'),
  'agent.environment': text('tool'),
  'agent.spiffe_id': text('tool'),
  'tool.name': text('tool'),
  'tool.risk': text('tool', ['read', 'write', 'deploy', 'payment', 'export']),
  'tool.sensitivity': text('tool'),
  'tool.binding': text('tool', ['request', 'key', 'audience', 'static', 'none']),
  'call.tool': text('tool'),
  'caller.spiffe_id': text('task'),
  'subject.iss': text('task'),
  'subject.sub': text('task'),
  'task.txn': text('task'),
  'task.purpose': text('task'),
  'task.mode': text('task'),
  'task.tools': { type: 'strings', known: 'task' },
  'chain.path': { type: 'strings', known: 'task' },
  'chain.length': { type: 'int', known: 'task' },
  'call.method': text('call'),
  'call.scheme': text('call', ['http', 'https']),
  'call.host': text('call'),
  'call.port': { type: 'int', known: 'call' },
  'call.path': text('call'),
  'call.mcp.tool': text('call'),
  'call.mcp.args_digest': text('call'),
  now: { type: 'timestamp', known: 'call' },
} as const satisfies Record<string, Fact>;

export type FactName = keyof typeof facts;

export function isFact(name: string): name is FactName {
  return Object.hasOwn(facts, name);
}
