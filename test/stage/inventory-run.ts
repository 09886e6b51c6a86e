import { writeFileSync } from 'node:fs';
import { decodeJwt } from 'jose';
import { InventoryComparison } from './inventory-comparison.ts';
import { type InventoryStage, openInventoryStage, owner, tokenTools, toolNames, useForMs } from './inventory-stage.ts';
import { Truth, type TrueTask } from './inventory-truth.ts';
import { callThrough, type RawAnswer } from './raw-call.ts';
import { callOperator } from './sidecar-process.ts';
import type { Stage } from './way-out-stage.ts';

/** What a run came to. */
export interface InventoryRun {
  readonly seed: number;
  readonly comparisons: number;
  /** Events by kind. */
  readonly counts: Readonly<Record<string, number>>;
  readonly tokensIssued: number;
  readonly mostTasks: number;
  readonly mostTokens: number;
}

/** Many random things that happen to tasks and tokens, and now and then the question whether all of it is listed. */
export async function runInventory(events: number, seed: number, compareEach: number): Promise<InventoryRun> {
  const staged = await openInventoryStage();
  try {
    return await new Run(staged, seed).run(events, compareEach);
  } finally {
    await staged.close();
  }
}

class Run {
  readonly #stage: Stage;
  readonly #staged: InventoryStage;
  readonly #firstSeed: number;
  #seed: number;
  readonly #truth = new Truth({ brief: useForMs });
  readonly #comparison: InventoryComparison;
  readonly #counts: Record<string, number> = {};
  /** Subject tokens that were used before; some of them were issued before a revocation. */
  readonly #oldTokens: { readonly token: string; readonly sub: string; readonly issuedAtMs: number }[] = [];
  readonly #renewed = new Set<string>();
  #keys = 0;

  constructor(staged: InventoryStage, seed: number) {
    this.#staged = staged;
    this.#stage = staged.stage;
    this.#firstSeed = seed;
    this.#seed = seed;
    this.#comparison = new InventoryComparison(staged.stage, this.#truth, owner);
  }

  /** Kinds of events and how often they come, in thousandths. What needs a task opens one where there is none. */
  readonly #kinds: readonly (readonly [name: string, weight: number, happen: (task: TrueTask) => Promise<void>])[] = [
    ['open', 230, () => this.#open()],
    ['open for a moment', 10, () => this.#open({ deadline: '1s' })],
    ['open below another', 30, (task) => this.#open({ parent: task.txn }, task)],
    ['open with an old token', 15, () => this.#openAgain()],
    ['use', 500, (task) => this.#use(task)],
    ['use of a token that its tool refuses', 30, (task) => this.#useRefused(task)],
    ['use while the service lies', 25, (task) => this.#useLied(task)],
    ['new static key', 5, () => this.#rotateKey()],
    ['complete', 80, (task) => this.#end(task, 'complete')],
    ['fail', 40, (task) => this.#end(task, 'fail')],
    ['complete by its handle', 40, (task) => this.#endByHandle(task)],
    ['revoke a task', 30, (task) => this.#revoke({ task: task.txn }, () => this.#truth.end(task.txn))],
    ['revoke a user', 8, (task) => this.#revokeSubject(task.sub)],
    ['revoke a tool', 2, () => this.#revokeTool()],
    ['revoke the agent', 1, () => this.#revoke({ agent: 'bot' }, (at) => this.#truth.revokeAll('agent', at))],
    ['revoke everything', 1, () => this.#revoke({ all: true }, (at) => this.#truth.revokeAll('all', at))],
    ['restart', 1, () => this.#restart(false)],
    ['kill -9', 1, () => this.#restart(true)],
  ];

  async run(events: number, compareEach: number): Promise<InventoryRun> {
    let [mostTasks, mostTokens] = [0, 0];
    const total = this.#kinds.reduce((sum, [, weight]) => sum + weight, 0);
    for (let step = 1; step <= events; step += 1) {
      let at = this.#dice(total);
      const kind = this.#kinds.find(([, weight]) => (at -= weight) < 0) ?? this.#kinds[0]!;
      if (this.#truth.open.size === 0) await this.#open();
      try {
        this.#truth.expire(Date.now() + 50);
        const all = [...this.#truth.open.values()];
        await kind[2](all[this.#dice(all.length)]!);
        if (step % compareEach === 0) await this.#comparison.compare(step % (compareEach * 5) === 0);
      } catch (error) {
        throw new Error(`seed ${this.#firstSeed}, event ${step}, ${kind[0]}: ${String(error)}`, { cause: error });
      }
      this.#counts[kind[0]] = (this.#counts[kind[0]] ?? 0) + 1;
      mostTasks = Math.max(mostTasks, this.#truth.open.size);
      mostTokens = Math.max(mostTokens, this.#truth.held(Date.now()).length);
    }
    await this.#comparison.compare(true);
    const told = { comparisons: this.#comparison.comparisons, tokensIssued: this.#stage.service.issued.length };
    return { seed: this.#firstSeed, counts: this.#counts, mostTasks, mostTokens, ...told };
  }

  /** The same numbers for the same seed. */
  #dice(sides: number): number {
    this.#seed = (this.#seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return Math.floor((this.#seed / 2 ** 31) * sides);
  }

  #operator(method: string, path: string, body?: unknown) {
    return callOperator(this.#stage.sidecar.addresses.socket, method, path, body);
  }

  async #open(more: Record<string, unknown> = {}, parent?: TrueTask): Promise<void> {
    const sub = parent?.sub ?? `user-${this.#dice(40)}`;
    // Issued a moment later, so that it counts although its user was revoked in this second.
    const iat = Math.floor(Date.now() / 1000) + 2;
    const token = await this.#stage.service.subjectToken({ sub, iat });
    this.#oldTokens.push({ token, sub, issuedAtMs: iat * 1000 });
    const purpose = this.#dice(4) === 0 ? 'look' : 'reconcile';
    const allowed = purpose === 'look' ? ['crm', 'files'] : toolNames;
    const tools = this.#dice(3) === 0 ? allowed.slice(this.#dice(allowed.length)) : undefined;
    const asked = { purpose, ...(tools === undefined ? {} : { tools }), ...more };
    await this.#tryOpen({ token, sub, issuedAtMs: iat * 1000 }, asked, new Set(tools ?? allowed), parent);
  }

  async #tryOpen(
    { token, sub, issuedAtMs }: { token: string; sub: string; issuedAtMs: number },
    more: Record<string, unknown>,
    asked: ReadonlySet<string>,
    parent?: TrueTask,
  ): Promise<void> {
    const { status, body } = await this.#operator('POST', '/v1/tasks', { subject_token: token, ...more });
    const wanted = this.#truth.mayOpen(sub, issuedAtMs) ? 201 : 403;
    if (status !== wanted)
      throw new Error(`${status}, not ${wanted}: issued ${issuedAtMs}, ${this.#truth.cutsOf(sub)}`);
    if (status !== 201) return;
    const opened = body as Record<'txn' | 'handle' | 'purpose' | 'opened_at' | 'expires_at', string>;
    this.#truth.add({
      txn: opened.txn,
      handle: opened.handle,
      sub,
      purpose: opened.purpose,
      issuedAtMs,
      tools: parent === undefined ? asked : asked.intersection(parent.tools),
      parent: parent?.txn,
      openedAt: opened.opened_at,
      expiresAt: opened.expires_at,
    });
  }

  async #openAgain(): Promise<void> {
    const old = this.#oldTokens[this.#dice(this.#oldTokens.length)];
    if (old !== undefined) await this.#tryOpen(old, { purpose: 'look' }, new Set(['crm', 'files']));
  }

  #call(task: TrueTask, tool: string): Promise<RawAnswer> {
    return callThrough(this.#stage.sidecar.addresses.outbound, `http://${tool}.test/x`, { handle: task.handle });
  }

  /** A call, and what it must have come to: the right token, taken from where the test knows. */
  async #use(task: TrueTask, tool = toolNames[this.#dice(toolNames.length)]!): Promise<void> {
    const issuedBefore = this.#stage.service.issued.length;
    const startedAt = Date.now();
    const answer = await this.#call(task, tool);
    const isAllowed = task.tools.has(tool) && !task.closed.has(tool);
    if ((answer.status === 200) !== isAllowed) throw new Error(`${tool}: ${answer.status} ${answer.code}`);
    if (answer.status !== 200) return;
    const text = (this.#staged.tool.seen.at(-1)?.headers.authorization ?? '').split(' ')[1] ?? '';
    this.#staged.tool.seen.splice(0);
    // A file is read at most once a second: which key went out, its tool knows.
    if (tool === 'mail') {
      this.#comparison.secretUsed(text, startedAt);
      return;
    }
    const known = task.tokens.get(tool);
    if (text === known?.text) known.usedAtMs = startedAt;
    else if (this.#stage.service.issued.slice(issuedBefore).includes(text) || this.#isRefreshed(text, tool, task))
      task.tokens.set(tool, { text, issuedAtMs: startedAt, usedAtMs: startedAt });
    else throw new Error(`${tool}: a token that was not issued for this call`);
  }

  /** A token that is fetched in the background, ahead of the end of the one before it. */
  #isRefreshed(text: string, tool: string, task: TrueTask): boolean {
    const { aud, sub } = decodeJwt(text);
    return tool === 'brief' && aud === tool && sub === task.sub && this.#stage.service.issued.includes(text);
  }

  async #useRefused(task: TrueTask): Promise<void> {
    // A token is renewed once in half a minute: the second refusal of the same tool would stand.
    const tool = [...task.tokens.keys()].find((name) => name !== 'brief' && !this.#renewed.has(`${task.txn} ${name}`));
    const held = tool === undefined ? undefined : task.tokens.get(tool);
    if (tool === undefined || held === undefined) return this.#use(task);
    this.#renewed.add(`${task.txn} ${tool}`);
    this.#staged.refused.add(held.text);
    await this.#use(task, tool);
    if (task.tokens.get(tool)?.text === held.text) throw new Error('the refused token was used again');
  }

  /** What the service issues now is not what was asked for: nobody may hold it. It is not asked again for a moment, so the task ends. */
  async #useLied(task: TrueTask): Promise<void> {
    const tool = tokenTools.find((name) => name !== 'brief' && task.tools.has(name) && !task.tokens.has(name));
    if (tool === undefined || task.closed.has(tool)) return this.#use(task);
    this.#stage.service.lie = ['other_sub', 'other_audience', 'wider_token_scope'][this.#dice(3)];
    const { status, code } = await this.#call(task, tool);
    this.#stage.service.lie = undefined;
    if (status !== 502 || code !== 'token_rejected') throw new Error(`a lie was answered with ${status} ${code}`);
    await this.#end(task, 'fail');
  }

  async #rotateKey(): Promise<void> {
    writeFileSync(this.#staged.keyFile, `key-number-${(this.#keys += 1)}`);
  }

  async #end({ txn }: TrueTask, how: 'complete' | 'fail'): Promise<void> {
    const { status } = await this.#operator('POST', `/v1/tasks/${txn}/${how}`);
    if (status !== 200) throw new Error(`not ended: ${status}`);
    this.#truth.end(txn);
  }

  async #endByHandle({ txn, handle }: TrueTask): Promise<void> {
    const { outbound } = this.#stage.sidecar.addresses;
    const headers = { Authorization: `Bearer ${handle}` };
    const url = 'http://waybill.local/v1/tasks/self/complete';
    const { status, code } = await callThrough(outbound, url, { method: 'POST', headers, body: '' });
    if (status !== 200) throw new Error(`not ended: ${status} ${code}`);
    this.#truth.end(txn);
  }

  async #revoke(what: Record<string, unknown>, tell: (atMs: number) => number | void): Promise<void> {
    const sinceMs = Date.now();
    const { status, body } = await this.#operator('POST', '/v1/revoke', { ...what, reason: 'a test' });
    if (status !== 200) throw new Error(`not revoked: ${status} ${JSON.stringify(body)}`);
    const ended = tell('task' in what ? sinceMs : await this.#comparison.cutMs(sinceMs));
    if (ended !== undefined && body['tasks'] !== ended) throw new Error(`${String(body['tasks'])} ended, not ${ended}`);
  }

  #revokeSubject(sub: string): Promise<void> {
    const subject = { iss: this.#stage.service.issuer, sub };
    return this.#revoke({ subject }, (at) => this.#truth.revokeSubject(sub, at));
  }

  #revokeTool(): Promise<void> {
    const tool = toolNames[this.#dice(toolNames.length)]!;
    return this.#revoke({ tool }, (at) => this.#truth.revokeTool(tool, at));
  }

  async #restart(isKilled: boolean): Promise<void> {
    const { sidecar } = this.#stage;
    if (isKilled) await sidecar.kill();
    else await sidecar.stop();
    this.#truth.restart(isKilled, this.#comparison.aliveAtService());
    this.#comparison.secretForgotten();
    await this.#stage.restart();
  }
}
