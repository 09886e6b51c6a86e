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
  /** SPIFFE IDs of the hops before us, oldest first. */
  readonly chain: readonly string[];
}

/** One call, as the rules see it. The tool is not here: `call.tool` is the name of the tool that the rules were prepared for. */
export interface CallFacts {
  readonly method: string;
  readonly scheme: string;
  readonly host: string;
  readonly port: number;
  /** As it will be forwarded, without the query. */
  readonly path: string;
  readonly mcp: McpFacts;
}

export interface McpFacts {
  readonly tool: string;
  readonly args_digest: string;
}

/** For calls that are not MCP. */
export const noMcp: McpFacts = Object.freeze({ tool: '', args_digest: '' });

/** For tools without `token`, which need a rule but no task. */
export const noTask: TaskFacts = Object.freeze({
  txn: '',
  purpose: '',
  mode: '',
  tools: Object.freeze([]),
  subject: Object.freeze({ iss: '', sub: '' }),
  caller: Object.freeze({ spiffe_id: '' }),
  chain: Object.freeze([]),
});

/** When a fact is known: at load for each tool, when a task first meets a tool, or only with the call. */
export type Moment = 'tool' | 'task' | 'call';

interface Fact {
  readonly type: 'string' | 'int' | 'strings' | 'timestamp';
  readonly known: Moment;
}

const text = (known: Moment): Fact => ({ type: 'string', known });

/** The one list of variables: the checker, the split of DESIGN 12 and the bindings read it. */
export const facts = {
  environment: text('tool'),
  'agent.name': text('tool'),
  'agent.owner': text('tool'),
  'agent.purpose': text('tool'),
  'agent.environment': text('tool'),
  'agent.spiffe_id': text('tool'),
  'tool.name': text('tool'),
  'tool.risk': text('tool'),
  'tool.sensitivity': text('tool'),
  'tool.binding': text('tool'),
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
  'call.scheme': text('call'),
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
