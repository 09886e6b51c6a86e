import { agentEnvironment } from '../agent-environment.ts';
import { asObject, type JsonObject } from '../json-object.ts';
import { callOperator } from '../operator-client.ts';
import { runProgram, type AgentResult } from './child.ts';
import { filesOf, urlOf, type ToolName } from './config.ts';
import type { Narration } from './narration.ts';
import type { Stage } from './stage.ts';
import type { SeenToken } from './tool-front.ts';
import { readEvents } from './witness.ts';

/** A task as its orchestrator knows it. */
export interface DemoTask {
  readonly txn: string;
  readonly proxy: string;
  /** By tool; empty unless asked for. */
  readonly handles: JsonObject;
  readonly tools: readonly string[];
}

/** What every step of the demo works with. */
export interface Scene {
  readonly stage: Stage;
  readonly narration: Narration;
  /** The task that the agent works in. */
  readonly task: DemoTask;
}

/** Names of the steps in `--ci`'s JSON. */
export type StepName =
  | 'exchange'
  | 'cache'
  | 'refusal'
  | 'foreign_tool'
  | 'task_end'
  | 'chain'
  | 'replay_same'
  | 'replay_path'
  | 'replay_tool'
  | 'replay_foreign_key';

/** One step: what it shows, and what it found. Rejects with `StepFailure` where the product does not do what it says. */
export interface Step {
  readonly name: StepName;
  readonly play: (scene: Scene) => Promise<JsonObject>;
}

/** A step did not show what it was to show. */
export class StepFailure extends Error {}

/** Fails the step unless the condition holds; `why` says what was found instead. */
export function expectThat(condition: boolean, why: string): asserts condition {
  if (!condition) throw new StepFailure(why);
}

/** Opens a task for the demo's user through the operator's API, as an orchestrator does. */
export async function openTask(stage: Stage, handles: 'task' | 'per_tool'): Promise<DemoTask> {
  const order = { subject_token: stage.subjectToken.reveal(), handles };
  const opened = await callOperator({ socket: filesOf(stage.folder).operatorSocket }, 'POST', '/v1/tasks', order);
  const { txn, proxy, tools } = opened;
  const isTask = typeof txn === 'string' && typeof proxy === 'string' && Array.isArray(tools);
  expectThat(isTask, 'the answer to POST /v1/tasks is no task');
  return { txn, proxy, tools: tools.map(String), handles: asObject(opened['handles']) };
}

/** Ends a task through the operator's API. */
export function completeTask(stage: Stage, txn: string): Promise<JsonObject> {
  return callOperator({ socket: filesOf(stage.folder).operatorSocket }, 'POST', `/v1/tasks/${txn}/complete`, {});
}

/** Lets the agent call a tool, in the environment of its task. */
export function callAsAgent({ stage, task }: Scene, tool: ToolName): Promise<AgentResult> {
  const own = agentEnvironment({ proxy: task.proxy, trustFolder: filesOf(stage.folder).trust });
  return runProgram('agent', urlOf(tool), { ...stage.baseEnvironment, ...own });
}

/** The newest event of a name in the record of the first sidecar. */
export function newestEvent(stage: Stage, name: string): Promise<JsonObject> {
  return newestIn(filesOf(stage.folder).record, name);
}

/** The newest event of a name in a record. */
export async function newestIn(record: string, name: string): Promise<JsonObject> {
  const event = (await readEvents(record, name)).at(-1);
  expectThat(event !== undefined, `the record has no ${name}`);
  return event;
}

/** The newest token that a tool got. Fails if the agent saw it as well (W3). */
export function newestToken(stage: Stage, result: AgentResult): SeenToken {
  const seen = stage.front.seen.at(-1);
  expectThat(seen !== undefined, 'no token reached a tool');
  expectThat(!result.text.includes(seen.token.reveal()), 'the agent was shown the token');
  return seen;
}

/** How an answer looks in a sentence. */
export function statusOf({ status, body, failed }: AgentResult): string {
  if (failed !== undefined) return `no answer (${failed})`;
  return typeof body['code'] === 'string' ? `${status} ${body['code']}` : String(status);
}
