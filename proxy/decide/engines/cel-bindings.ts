import { celList, type CelInput } from '@bufbuild/cel';
import { type AgentFacts, type CallFacts, type FactName, type TaskFacts, type ToolFacts } from '../facts.ts';

/**
 * Values of the facts under their full names (`call.path`, not a map `call`): CEL resolves the longest qualified name first, and a map per
 * record and call would cost more than the evaluation. No prototype, so no name but ours resolves.
 */
export type CelBindings = Record<string, CelInput>;

/** What a timestamp is to CEL: google.protobuf.Timestamp. */
interface Timestamp {
  readonly $typeName: 'google.protobuf.Timestamp';
  readonly seconds: bigint;
  readonly nanos: number;
}

export function bindTool(agent: AgentFacts, environment: string, tool: ToolFacts): CelBindings {
  return bind(Object.create(null), {
    environment,
    'agent.name': agent.name,
    'agent.owner': agent.owner,
    'agent.purpose': agent.purpose,
    'agent.environment': agent.environment,
    'agent.spiffe_id': agent.spiffe_id,
    'tool.name': tool.name,
    'tool.risk': tool.risk,
    'tool.sensitivity': tool.sensitivity,
    'tool.binding': tool.binding,
    'call.tool': tool.name,
  });
}

/** A copy of the tool's bindings with the task's. */
export function bindTask(ofTool: CelBindings, task: TaskFacts): CelBindings {
  return bind(bind(Object.create(null), ofTool), {
    'caller.spiffe_id': task.caller.spiffe_id,
    'subject.iss': task.subject.iss,
    'subject.sub': task.subject.sub,
    'task.txn': task.txn,
    'task.purpose': task.purpose,
    'task.mode': task.mode,
    'task.tools': celList([...task.tools]),
    'chain.path': celList([...task.chain.path]),
    'chain.length': BigInt(task.chain.length),
  });
}

/** Sets the call's facts in place: evaluation is synchronous, so that one set of bindings serves all calls of a task and tool. */
export function bindCall(ofTask: CelBindings, call: CallFacts, nowMs: number): void {
  ofTask['call.method'] = call.method;
  ofTask['call.scheme'] = call.scheme;
  ofTask['call.host'] = call.host;
  ofTask['call.port'] = BigInt(call.port);
  ofTask['call.path'] = call.path;
  ofTask['call.mcp.tool'] = call.mcp?.tool ?? '';
  ofTask['call.mcp.args_digest'] = call.mcp?.args_digest ?? '';
  ofTask['now'] = timestamp(nowMs);
}

function bind(target: CelBindings, values: { readonly [name in FactName]?: CelInput } | CelBindings): CelBindings {
  return Object.assign(target, values);
}

function timestamp(ms: number): CelInput {
  const whole = Math.floor(ms);
  const seconds = Math.floor(whole / 1000);
  const value: Timestamp = {
    $typeName: 'google.protobuf.Timestamp',
    seconds: BigInt(seconds),
    nanos: (whole - seconds * 1000) * 1_000_000,
  };
  return value;
}
