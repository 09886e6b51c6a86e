import { openDemoUser } from '../../embedded/demo-user.ts';
import { asObject, type JsonObject } from '../json-object.ts';
import { demoTools } from './config.ts';
import type { ChainStage } from './chain-stage.ts';
import { lastRequestTo } from './chain-steps.ts';
import { expectThat, type Scene } from './step.ts';
import { StolenRequest } from './thief.ts';
import { awaitEvent, readReplaysBlocked } from './witness.ts';

/** What a thief tries, where, and why it must fail. */
interface Attempt {
  readonly request: StolenRequest;
  readonly at: 'crm' | 'tickets';
  readonly reason: string;
}

/** A proof is good for one request: the very same bytes are refused (W6). */
export async function playReplaySame({ stage, narration }: Scene): Promise<JsonObject> {
  const chain = await stage.chain;
  narration.step(
    7,
    'A thief sends the same request again',
    'A thief sat on the wire before the CRM and has all that the worker’s sidecar sent: the token, the proof, the chain, the nonce. He sends the very same bytes.',
  );
  const found = await block(chain, { request: lastRequestTo(chain, 'crm'), at: 'crm', reason: 'proof_reused' });
  narration.tick(`${told(found)} A proof is good once, and this one was spent.`);
  return found;
}

/** A proof names its target. */
export async function playReplayPath({ stage, narration }: Scene): Promise<JsonObject> {
  const chain = await stage.chain;
  narration.step(
    8,
    'The same token and proof at another path',
    'The invoices are not what he wanted. With the same headers he asks for the customers.',
  );
  const request = lastRequestTo(chain, 'crm').at('/api/customers');
  const found = await block(chain, { request, at: 'crm', reason: 'proof_wrong_target' });
  narration.tick(`${told(found)} The proof names the method and the URL that it was made for.`);
  return found;
}

/** A token names its audience. */
export async function playReplayTool({ stage, narration }: Scene): Promise<JsonObject> {
  const chain = await stage.chain;
  narration.step(
    9,
    'The same token and proof at another tool',
    'The tickets trust the same token service and let the same worker in. He tries them there.',
  );
  const { host } = new URL(chain.hops.tickets.wire.origin);
  // Under the name of the tickets, or their way in would not even look at the token.
  const request = lastRequestTo(chain, 'crm').with('Host', host).at(demoTools.tickets.path);
  const found = await block(chain, { request, at: 'tickets', reason: 'token_wrong_audience' });
  narration.tick(`${told(found)} The token is for the CRM alone.`);
  return found;
}

/** A token is bound to the key of its sidecar: everything else about the request is right, and made for this request. */
export async function playReplayForeignKey({ stage, narration }: Scene): Promise<JsonObject> {
  const chain = await stage.chain;
  const { crm } = chain.hops;
  narration.step(
    10,
    'The same token with a proof of his own',
    'He makes a key and with it a fresh proof for this token, this URL and this chain, with the newest nonce. All of it is right but the key.',
  );
  const stolen = lastRequestTo(chain, 'crm');
  const { nonce } = await new StolenRequest(`GET / HTTP/1.1\r\nHost: ${stolen.header('Host')}\r\n\r\n`).sendTo(
    crm.inbound,
  );
  expectThat(nonce !== undefined, 'the way in gave no nonce');
  const thief = await openDemoUser();
  const url = crm.wire.origin + stolen.path;
  const proof = await thief.prove({ method: 'GET', url, token: stolen.token, nonce, wbd: stolen.chainDigest });
  const request = stolen.with('DPoP', proof);
  const found = await block(chain, { request, at: 'crm', reason: 'token_foreign_presenter' });
  narration.tick(`${told(found)} The token is bound to a key that never left the worker’s sidecar.`);
  narration.tick(
    'Four attempts, four reasons, each recorded and counted once; the log of the CRM still has its one line.',
  );
  return found;
}

/** Sends what a thief made of a request, and asks everybody who would know: answer, record, metrics, and the logs of the tools. */
async function block(chain: ChainStage, { request, at, reason }: Attempt): Promise<JsonObject> {
  const { inbound, record, sidecar } = chain.hops[at];
  const { status, body } = await request.sendTo(inbound);
  expectThat(status === 401 && body['code'] === reason, `the thief got ${status} ${String(body['code'])}`);
  const event = await awaitEvent(record, 'call.refused', ({ id }) => id === body['event']);
  expectThat(event !== undefined, 'the record has no refusal of this request');
  const { grade } = asObject(event['replay']);
  expectThat(asObject(event['replay'])['reason'] === reason, 'the record does not call it a replay');
  const counted = (await readReplaysBlocked(sidecar.addresses.metrics))[reason];
  expectThat(counted === 1, `the metric counts ${String(counted)}`);
  const { crm, tickets } = chain.tools;
  expectThat(crm.requests.length === 1 && tickets.requests.length === 0, 'the request reached a tool');
  const { detail, event: id } = body;
  return { status, code: reason, grade, detail, event: id, tool: at, counted, new_requests_at_tool: 0 };
}

function told({ status, code, grade }: JsonObject): string {
  return `${String(status)} ${String(code)}, ${grade === 'proven' ? 'a proven replay' : 'a suspected replay'}.`;
}
