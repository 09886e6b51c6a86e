import { setTimeout as sleep } from 'node:timers/promises';
import type { Secret } from '../../trust/secret.ts';
import { verifyEvents } from '../../record/verify-events.ts';
import { asObject, type JsonObject } from '../json-object.ts';
import { runProgram } from './child.ts';
import { playChain } from './chain-steps.ts';
import { describeToken, shownClaims } from './claims.ts';
import { filesOf, names, originOf, urlOf } from './config.ts';
import { playReplayForeignKey, playReplayPath, playReplaySame, playReplayTool } from './replay-steps.ts';
import type { Stage } from './stage.ts';
import {
  callAsAgent,
  completeTask,
  expectThat,
  newestEvent,
  newestToken,
  openTask,
  statusOf,
  type Scene,
  type Step,
} from './step.ts';
import { awaitEvent } from './witness.ts';

/** Longest wait for the revocation, which follows the end of the task in its own time. */
const revokedWithinMs = 3000;

/** The steps in their order. */
export const steps: readonly Step[] = [
  { name: 'exchange', play: playExchange },
  { name: 'cache', play: playCache },
  { name: 'refusal', play: playRefusal },
  { name: 'foreign_tool', play: playForeignTool },
  { name: 'task_end', play: playTaskEnd },
  { name: 'chain', play: playChain },
  { name: 'replay_same', play: playReplaySame },
  { name: 'replay_path', play: playReplayPath },
  { name: 'replay_tool', play: playReplayTool },
  { name: 'replay_foreign_key', play: playReplayForeignKey },
];

/**
 * W3, W5: the agent gets the answer and never the token; the token is for this user, this actor, this tool and this scope, and bound
 * to a key. The claims are read where the token arrived, at the tool.
 */
async function playExchange(scene: Scene) {
  const { stage, narration } = scene;
  narration.step(
    1,
    'A call without a credential is exchanged',
    'The agent calls the CRM with plain fetch. The sidecar finds the task by the handle, asks the rules, shows the token service who the agent is (its JWT-SVID) and for whom it works (Alice’s token), and gets a token for this one tool.',
  );
  narration.show(`await fetch('${urlOf('crm')}')        all of proxy/embedded/demo-agent.ts`);
  const result = await callAsAgent(scene, 'crm');
  expectThat(result.status === 200, `the CRM was to answer 200, and the agent got ${statusOf(result)}`);
  const { token, claims } = newestToken(stage, result);
  const { sub: actorId } = asObject(claims['act']);
  expectThat(claims['sub'] === names.user, `the token is for ${String(claims['sub'])}`);
  expectThat(actorId === names.agentId, 'the token does not name the agent as actor');
  expectThat(claims['aud'] === originOf('crm'), `the token is good at ${String(claims['aud'])}`);
  expectThat(claims['scope'] === 'crm.read', `the token has the scopes ${String(claims['scope'])}`);
  // The tool checks the proof itself; a bearer token would have been taken too, had one been issued.
  const request = stage.tools.crm.requests.at(-1);
  expectThat(request?.scheme === 'DPoP' && request.status === 200, 'the CRM was sent no proof');
  narration.tick(`200. The CRM got token ${token.id}, which the agent has never seen:`);
  narration.claims(describeToken(claims));
  return { status: 200, token: token.id, from: 'exchange', claims: shownClaims(claims) };
}

/**
 * W4: the second call asks nobody. Three witnesses that know nothing of each other must agree: the tool (same token), the token service
 * (one exchange) and the record (`from: cache`).
 */
async function playCache(scene: Scene) {
  const { stage, narration } = scene;
  narration.step(
    2,
    'The second call comes from the cache',
    'The same call again. The token is the same and the token service is not asked; the proof is a new one, because a proof is good for one request.',
  );
  // Read before the call, since the record goes on growing.
  const before = {
    token: stage.front.seen.at(-1)?.token.id,
    proof: proofOf(await newestEvent(stage, 'call.admitted')),
  };
  const result = await callAsAgent(scene, 'crm');
  expectThat(result.status === 200, `the CRM was to answer 200, and the agent got ${statusOf(result)}`);
  const { token } = newestToken(stage, result);
  const event = await newestEvent(stage, 'call.admitted');
  const { exchanges } = stage.service.counters;
  expectThat(token.id === before.token, 'another token was sent');
  expectThat(exchanges === 1, `the token service made ${exchanges} exchanges`);
  const { from } = asObject(event['credential']);
  expectThat(from === 'cache', `the record says that the token came from ${String(from)}`);
  expectThat(proofOf(event) !== before.proof, 'the proof was sent a second time');
  narration.tick(`200. Token ${token.id} again, from the cache: ${exchanges} exchange so far. The proof is new.`);
  return { status: 200, token: token.id, from, exchanges };
}

/** W9, W1: the refusal is made before any token is asked for; the tool and the token service are asked whether they heard of it. */
async function playRefusal(scene: Scene) {
  const { stage, narration } = scene;
  narration.step(
    3,
    'A tool that is not allowed is refused',
    'Something on a web page tells the agent to read salaries. Payroll is a tool of this sidecar, and not one of this task: the call ends here, and the answer says why and what to do, to the agent as well.',
  );
  narration.show(`await fetch('${urlOf('payroll')}')`);
  const result = await callAsAgent(scene, 'payroll');
  const { code, detail, hint, event } = result.body;
  expectThat(result.status === 403 && code === 'tool_not_in_task', `the agent got ${statusOf(result)}`);
  expectThat(stage.tools.payroll.requests.length === 0, 'the call reached payroll');
  expectThat(stage.service.counters.exchanges === 1, 'the token service was asked');
  narration.tick('403. Nothing reached payroll, and no token was asked for. The agent reads:');
  narration.claims([
    ['code', code],
    ['detail', String(detail)],
    ['hint', String(hint)],
    ['event', String(event)],
  ]);
  return { status: 403, code, detail, hint, event, requests_at_tool: 0 };
}

/**
 * W11: a per-tool handle in other hands. The mount is called, and not the proxy: there an attacker can read why it was refused. That
 * the handle is good at its own tool shows that the refusal is about the place, and not about the handle.
 */
async function playForeignTool({ stage, narration }: Scene) {
  narration.step(
    4,
    'A handle used for another tool is refused',
    'An attacker talks an agent out of the handle for the CRM (tasks can have one handle for each tool) and tries it at the tickets. A handle is no token: it is good in this sidecar, for this task, at its tool, and its use anywhere else is a replay: blocked, recorded and counted.',
  );
  const { txn, handles } = await openTask(stage, 'per_tool');
  const stolen = handles['crm'];
  expectThat(typeof stolen === 'string', 'the task has no handle for the CRM');
  // A task of its own, so that the agent's task goes on as it was.
  const mount = (tool: string): string => `http://${stage.sidecar.addresses.outbound}/tools/${tool}/api/stolen`;
  const use = (tool: string) =>
    runProgram('intruder', mount(tool), { ...stage.baseEnvironment, STOLEN_HANDLE: stolen });
  const foreign = await use('tickets');
  const { code, detail } = foreign.body;
  expectThat(foreign.status === 403 && code === 'handle_foreign_tool', `the attacker got ${statusOf(foreign)}`);
  expectThat(stage.tools.tickets.requests.length === 0, 'the call reached the tickets');
  narration.tick(`403 ${code}: ${String(detail)} Nothing reached the tickets.`);
  const own = await use('crm');
  expectThat(own.status === 200, `at its own tool the handle was to be good, and it got ${statusOf(own)}`);
  narration.tick('200 with the same handle at the CRM: it is good where it belongs.');
  await completeTask(stage, txn);
  return { status: 403, code, detail, requests_at_tool: 0, status_at_own_tool: 200 };
}

/** The end of a task as DESIGN 4 has it: credentials dropped and revoked, handles made tombstones, all of it in the record (W7). */
async function playTaskEnd(scene: Scene) {
  const { stage, narration, task } = scene;
  narration.step(
    5,
    'The task ends, and what was issued for it ends with it',
    'The orchestrator says that the work is done. The sidecar drops the task’s token and revokes it at the token service (RFC 7009); the CRM asks the service about the token before and after (RFC 7662). Then the agent tries once more.',
  );
  const token = stage.front.seen[0]?.token;
  expectThat(token !== undefined, 'no token reached a tool');
  // Without this, a token that was never active would pass for a revoked one.
  const activeBefore = (await stage.introspect(token))['active'];
  expectThat(activeBefore === true, 'the token was inactive before the end of the task');
  const ended = await completeTask(stage, task.txn);
  const { state, credentials_dropped: dropped } = ended;
  expectThat(state === 'completed' && dropped === 1, `the task is ${String(state)}, ${String(dropped)} tokens dropped`);
  expectThat(await becomesInactive(stage, token), 'the token is still active at the token service');
  narration.tick(`Task ${task.txn} is completed. Token ${token.id} was active, and is inactive at the token service.`);
  const result = await callAsAgent(scene, 'crm');
  // fetch tells nothing of a CONNECT that was refused; the record does.
  const { record: file } = filesOf(stage.folder);
  const refused = await awaitEvent(file, 'call.refused', ({ code }) => code === 'handle_ended');
  expectThat(result.status !== 200, 'the agent could still call the CRM');
  expectThat(refused !== undefined, 'the record has no refusal as handle_ended');
  narration.tick('403 handle_ended for the agent: of its handle only a tombstone is left.');
  const record = await verifyEvents([file]);
  expectThat(record.faultCount === 0, `the record is broken: ${record.faults[0]?.message}`);
  narration.tick(
    `All of it stands in the record: ${record.lines} events, each with the hash of the one before, verified.`,
  );
  return {
    state,
    credentials_dropped: dropped,
    token: token.id,
    active_before: true,
    active_after: false,
    code: refused['code'],
    events: record.lines,
  };
}

/** Revocation follows the answer to whoever ended the task. */
async function becomesInactive(stage: Stage, token: Secret): Promise<boolean> {
  for (let waitedMs = 0; waitedMs < revokedWithinMs; waitedMs += 50) {
    if ((await stage.introspect(token))['active'] === false) return true;
    await sleep(50);
  }
  return false;
}

/** Id of the proof that went with an admitted call; undefined where none did. */
function proofOf(event: JsonObject): unknown {
  return asObject(event['proof'])['id'];
}
