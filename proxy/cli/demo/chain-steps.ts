import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { Secret } from '../../trust/secret.ts';
import { asObject, parseObject, type JsonObject } from '../json-object.ts';
import { idOf, resourceOf, type HopName } from './chain-config.ts';
import type { ChainStage } from './chain-stage.ts';
import { describeDelegatedToken, describeLinks, shownClaims } from './claims.ts';
import { demoTools, names } from './config.ts';
import { expectThat, newestIn, type Scene } from './step.ts';
import { StolenRequest } from './thief.ts';
import { decodeClaims } from './tool-front.ts';

/** One hop as it was seen on the wire: from whom, to whom, with which token. */
interface CrossedHop {
  readonly from: string;
  readonly to: HopName;
  readonly token: string;
  readonly claims: JsonObject;
}

/** The request that a sidecar, or Alice's client, sent to a hop last: the one that was let in. */
export function lastRequestTo(chain: ChainStage, hop: HopName): StolenRequest {
  const head = chain.hops[hop].wire.requests().at(-1);
  expectThat(head !== undefined, `nothing crossed the wire to the ${hop}`);
  return new StolenRequest(head);
}

/**
 * The whole path of a delegation, read where it ends. The tool is told it twice: by its token (nested `act`) and by its sidecar
 * (`Waybill-Chain`). The links, signed by each hop, end at that sidecar, which verified them and whose record says the same. What the
 * agents held on the way is good nowhere else (W3).
 */
export async function playChain({ stage, narration }: Scene): Promise<JsonObject> {
  const chain = await stage.chain;
  const { planner, worker, crm, tickets } = chain.hops;
  narration.step(
    6,
    'Agents call agents, and the tool sees the whole path',
    'Alice’s own client calls a planner, which asks a worker, which calls the CRM. Each of them stands behind a sidecar of its own, the CRM as well, and each way in checks token, proof and chain. Both agents are plain HTTP servers: they hand on the Authorization that they were given, and that is good in their own sidecar only.',
  );
  narration.show('alice ───▶ ▌planner ───▶ ▌worker ───▶ ▌crm          ▌ a sidecar, way in and way out');
  const pids = [planner, worker, crm, tickets].map(({ sidecar }) => sidecar.pid).join(', ');
  narration.tick(`Four more sidecars run, processes ${pids}; the agents are processes ${chain.agentPids.join(', ')}.`);
  const { status, text } = await chain.user.get(`${planner.wire.origin}/reconcile`, chain.userToken.reveal());
  expectThat(status === 200, `Alice’s client was to get 200, and got ${status}: ${codeOf(text)}`);
  const crossed = (['planner', 'worker', 'crm'] as const).map((hop, at) => crossedTo(chain, hop, at));
  narration.tick(
    '200. Each hop exchanged the token that it got for one that is good at the next alone, and says less:',
  );
  narration.claims(
    crossed.map(({ from, to, claims }) => [`${from} → ${to}`, String(claims['aud']), String(claims['scope'])]),
  );
  const agents = checkAgents(text, chain);
  const last = crossed.at(-1);
  expectThat(last !== undefined, 'nothing reached the CRM');
  checkToken(last.claims, agents.atTool);
  const atTool = readAtTool(chain, last);
  narration.tick(`The CRM itself got token ${last.token}. Its own log has one line, and the token says:`);
  narration.claims(describeDelegatedToken(last.claims));
  narration.tick('Its sidecar added one header, the path that it verified, oldest hop first:');
  narration.claims([['Waybill-Chain', atTool.waybill_chain.join(' ')]]);
  const links = readLinks(lastRequestTo(chain, 'crm'), last.claims);
  narration.tick(
    'What was verified: its sidecar got two links in Waybill-Delegation, and kept them. Each is signed with the X.509-SVID of its hop:',
  );
  narration.claims(describeLinks(links));
  const path = await checkRecord(crm.record, last.token);
  narration.tick(`The record of the CRM’s sidecar: for ${names.user}, by ${path.join(', then ')}.`);
  return {
    status,
    token: last.token,
    claims: shownClaims(last.claims),
    at_tool: atTool,
    links,
    path,
    hops: crossed.map(({ from, to, token, claims: { aud, scope } }) => ({ from, to, token, audience: aud, scope })),
    agents: agents.held,
    requests_at_tool: chain.tools.crm.requests.length,
  };
}

function crossedTo(chain: ChainStage, to: HopName, at: number): CrossedHop {
  const token = new Secret(lastRequestTo(chain, to).token);
  return {
    from: [names.user, 'planner', 'worker'][at] ?? '',
    to,
    token: token.id,
    claims: decodeClaims(token.reveal()),
  };
}

/** What the agents held, and what the CRM answered: neither of them may have seen a token of ours. */
function checkAgents(text: string, chain: ChainStage): { held: readonly JsonObject[]; atTool: JsonObject } {
  const byPlanner = parseObject(text) ?? {};
  const byWorker = asObject(byPlanner['answer']);
  const held = [byPlanner, byWorker].map(({ user, token_of: issuer }) => ({ user, token_of: issuer }));
  for (const { user, token_of: issuer } of held) {
    expectThat(user === names.user, `an agent works for ${String(user)}`);
    expectThat(issuer === 'http://waybill.local', `an agent holds a token of ${String(issuer)}`);
  }
  const { requests } = chain.tools.crm;
  expectThat(requests.length === 1 && requests[0]?.status === 200, 'the CRM’s log is not the one call');
  return { held, atTool: asObject(byWorker['answer']) };
}

/** The token at the end of the path, and that the tool read the same in it. */
function checkToken(claims: JsonObject, atTool: JsonObject): void {
  const act = asObject(claims['act']);
  const before = asObject(act['act']);
  expectThat(claims['sub'] === names.user, `the token is for ${String(claims['sub'])}`);
  expectThat(act['sub'] === idOf('worker'), 'the token does not name the worker as actor');
  expectThat(before['sub'] === idOf('planner'), 'the token does not name the planner as the actor before');
  expectThat(claims['aud'] === resourceOf('crm'), `the token is good at ${String(claims['aud'])}`);
  expectThat(claims['scope'] === demoTools.crm.scope, `the token has the scopes ${String(claims['scope'])}`);
  expectThat(isDeepStrictEqual(atTool['act'], claims['act']), 'the CRM read another chain of actors');
}

/** Headers that tell the tool who calls, for whom and by which path; all others of its request are ordinary ones. */
const telling = ['authorization', 'dpop', 'waybill-chain', 'waybill-delegation'];

/** What the CRM itself got, byte for byte: the caller's token as it came, the path as its sidecar says it, and none of the links. */
function readAtTool(chain: ChainStage, { token, claims: { act } }: CrossedHop) {
  const head = chain.crmDoor.requests().at(-1);
  expectThat(head !== undefined, 'the CRM’s sidecar forwarded nothing');
  const request = new StolenRequest(head);
  const headers = request.headerNames.filter((name) => telling.includes(name)).toSorted();
  expectThat(new Secret(request.token).id === token, 'the CRM got another token than its sidecar');
  expectThat(!headers.includes('waybill-delegation'), 'the links went on to the CRM');
  const path = request.header('Waybill-Chain').split(' ');
  const wanted = [idOf('planner'), idOf('worker')];
  expectThat(isDeepStrictEqual(path, wanted), `Waybill-Chain says ${path.join(' ')}`);
  return { headers, act, waybill_chain: path };
}

/** Claims of the links, oldest first, and that each belongs to the one before it and the last to this token. */
function readLinks(request: StolenRequest, token: JsonObject): readonly JsonObject[] {
  const texts = request.header('Waybill-Delegation').split(', ');
  const links = texts.map(decodeClaims);
  const hops = links.map(({ iss, sub, aud }) => ({ iss, sub, aud }));
  const wanted = [
    { iss: idOf('planner'), sub: names.user, aud: resourceOf('worker') },
    { iss: idOf('worker'), sub: names.user, aud: resourceOf('crm') },
  ];
  expectThat(isDeepStrictEqual(hops, wanted), `the links say ${JSON.stringify(hops)}`);
  const [first = ''] = texts;
  const follows = links[1]?.['prev'] === createHash('sha256').update(first).digest('base64url');
  expectThat(follows, 'the second link does not follow the first');
  const { jkt } = asObject(token['cnf']);
  expectThat(jkt === asObject(links[1]?.['cnf'])['jkt'], 'token and last link are bound to different keys');
  return links;
}

/** The path as the tool's sidecar verified and recorded it. */
async function checkRecord(record: string, token: string): Promise<readonly string[]> {
  const { subject, caller, chain, credential } = await newestIn(record, 'call.admitted');
  expectThat(asObject(subject)['sub'] === names.user, 'the record names another user');
  expectThat(caller === idOf('worker'), `the record names ${String(caller)} as caller`);
  expectThat(asObject(credential)['id'] === token, 'the record names another token');
  const path = Array.isArray(chain) ? chain.map(String) : [];
  expectThat(isDeepStrictEqual(path, [idOf('planner'), idOf('worker')]), `the record has the path ${path.join(' ')}`);
  return path;
}

/** Why somebody on the path refused, as far as the answer says it. */
function codeOf(text: string): string {
  const body = parseObject(text) ?? {};
  const inner = asObject(body['answer']);
  const codes = [body, inner, asObject(inner['answer'])].map(({ code }) => code);
  return codes.find((code) => typeof code === 'string') ?? 'no reason';
}
