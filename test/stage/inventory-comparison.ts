import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { decodeJwt } from 'jose';
import { eventually } from '../fakes/eventually.ts';
import { runWaybill } from './command-line.ts';
import { idOf, type Truth } from './inventory-truth.ts';
import { callOperator } from './sidecar-process.ts';
import type { Stage } from './way-out-stage.ts';

type Listed = Record<string, unknown>;

/** Compares what a sidecar lists with the truth, and with what its token service knows. */
export class InventoryComparison {
  comparisons = 0;
  readonly #stage: Stage;
  readonly #truth: Truth;
  readonly #owner: string;
  /** Digest of the static key that its tool was last called with, by this process. */
  #secret: { readonly id: string; readonly usedAtMs: number } | undefined;

  constructor(stage: Stage, truth: Truth, owner: string) {
    this.#stage = stage;
    this.#truth = truth;
    this.#owner = owner;
  }

  secretUsed(key: string, atMs: number): void {
    this.#secret = { id: idOf(key), usedAtMs: atMs };
  }

  secretForgotten(): void {
    this.#secret = undefined;
  }

  /** Tokens that were issued, and not taken back since; those apart that a killed sidecar left. */
  aliveAtService(): Set<string> {
    const { issued, revoked } = this.#stage.service;
    return new Set(issued).difference(new Set(revoked)).difference(this.#truth.abandoned);
  }

  /** From when on a principal that was just revoked counts again, as the record says it: to the millisecond. */
  async cutMs(sinceMs: number): Promise<number> {
    let foundMs = NaN;
    await eventually('the revocation is recorded', () => {
      const tail = readFileSync(this.#stage.sidecar.eventsFile).subarray(-100_000).toString().split('\n');
      const told = /"principal\.revoked".*"before":"([^"]+)"/;
      foundMs = Math.max(...tail.flatMap((line) => Date.parse(told.exec(line)?.[1] ?? '') || []));
      return foundMs >= sinceMs;
    });
    return foundMs;
  }

  /** @param inAllForms also what the command prints. Throws the first difference. */
  async compare(inAllForms: boolean): Promise<void> {
    const unrest = this.#truth.unrest(Date.now(), inAllForms ? 5000 : 400);
    if (unrest > 0) await sleep(unrest);
    await this.#untilEqual('the inventory', async () => {
      const found = (await this.#get('/v1/inventory')) as Record<string, Listed[]>;
      this.#truth.expire(Date.now());
      return [this.#told(found), this.#wanted()];
    });
    // A token in nobody's hands goes back: what the service still takes is what is listed, and nothing beside it.
    await this.#untilEqual('what the service would take', async () => {
      // A task may have come to its deadline since the first look.
      this.#truth.expire(Date.now());
      const held = this.#truth.held(Date.now()).map(({ token }) => describe(token.text));
      return [[...this.aliveAtService()].map(describe).toSorted(), held.toSorted()];
    });
    if (inAllForms) await this.#compareForms();
    this.comparisons += 1;
  }

  async #untilEqual(what: string, look: () => Promise<readonly [unknown, unknown]>): Promise<void> {
    let difference = '';
    await eventually(
      `${what} is what is so`,
      async () => {
        const [found, wanted] = (await look()).map((side) => JSON.stringify(side, undefined, 1).split('\n'));
        const isIn = (line: string, lines: readonly string[] = []): boolean => lines.includes(line);
        const lost = (wanted ?? []).filter((line) => !isIn(line, found));
        const more = (found ?? []).filter((line) => !isIn(line, wanted));
        difference = `too few: ${lost.slice(0, 8).join('')}; too many: ${more.slice(0, 8).join('')}`;
        return found?.join() === wanted?.join();
      },
      8000,
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}; ${difference}`, { cause: error });
    });
  }

  async #get(path: string): Promise<Record<string, unknown>> {
    return (await callOperator(this.#stage.sidecar.addresses.socket, 'GET', path)).body;
  }

  /** One line for each thing, so that two lists can be compared. */
  #told({ agents = [], credentials = [], tasks = [] }: Record<string, Listed[]>): string[] {
    const lines = tasks.map(({ tools, subject, ...task }) => {
      const { sub } = subject as { sub: string };
      const { txn, state, owner, purpose, opened_at: opened, expires_at: expires, parent } = task;
      return ['task', txn, state, sub, owner, purpose, (tools as string[]).toSorted().join(), opened, expires, parent];
    });
    for (const { kind, id, service, tool, txn, owner, purpose, audience, scopes, binding, ...more } of credentials) {
      const used = Date.parse(String(more['last_used_at']));
      lines.push(
        kind === 'secret'
          ? [kind, id, tool, owner, binding, this.#near(used, this.#secret?.usedAtMs)]
          : [kind, id, service, tool, txn, owner, purpose, audience, scopes, binding, ...this.#times(String(id), more)],
      );
    }
    return [...lines.map((line) => line.join(' ')).toSorted(), `agents ${agents.length}`];
  }

  #wanted(): string[] {
    const lines: unknown[][] = [...this.#truth.open.values()].map((task) => {
      const { txn, sub, purpose, tools, openedAt, expiresAt, parent } = task;
      return [
        'task',
        txn,
        'open',
        sub,
        this.#owner,
        purpose,
        [...tools].toSorted().join(),
        openedAt,
        expiresAt,
        parent,
      ];
    });
    for (const { task, tool, token } of this.#truth.held(Date.now())) {
      const binding = tool === 'bound' ? 'key' : 'audience';
      const about = [tool, task.txn, this.#owner, task.purpose, tool, `${tool}.read`, binding];
      lines.push(['token', idOf(token.text), 'corp', ...about, true, true]);
    }
    lines.push(['secret', this.#secret?.id, 'mail', this.#owner, 'static', true]);
    return [...lines.map((line) => line.join(' ')).toSorted(), 'agents 1'];
  }

  /** Whether the last use is the one that was, and the end is still to come. */
  #times(id: string, { last_used_at: used, expires_at: end }: Listed): [boolean, boolean] {
    const held = this.#truth.held(Date.now()).find(({ token }) => idOf(token.text) === id);
    return [this.#near(Date.parse(String(used)), held?.token.usedAtMs), Date.parse(String(end)) > Date.now()];
  }

  /** Told times are those of the call, a busy machine's delay apart; what was never used has none. */
  #near(toldMs: number, knownMs: number | undefined): boolean {
    return knownMs === undefined ? Number.isNaN(toldMs) : toldMs >= knownMs && toldMs < knownMs + 5000;
  }

  /** The table of tasks, the gauge, and the command's CSV and JSON say the same. */
  async #compareForms(): Promise<void> {
    const listed = ((await this.#get('/v1/tasks?state=open')) as { tasks: Listed[] }).tasks.map(({ txn }) => txn);
    const txns = [...this.#truth.open.keys()];
    const { socket } = this.#stage.sidecar.addresses;
    const csv = (await runWaybill(['inventory', '--csv', '--socket', socket])).stdout.trim().split('\n');
    const json = await runWaybill(['inventory', '--json', '--socket', socket]);
    const held = this.#truth.held(Date.now()).filter(({ tool }) => tool !== 'brief');
    const cells = csv.map((line) => line.split(','));
    const columns = ['kind', 'id', 'tool', 'task'].map((name) => cells[0]?.indexOf(name) ?? -1);
    const rows = cells.map((row) => columns.map((at) => row[at]).join(' '));
    const { tasks = [], credentials = [] } = JSON.parse(json.stdout) as Record<string, Listed[]>;
    const same = (name: string, found: readonly unknown[], wanted: readonly unknown[]): void => {
      const [left, right] = [found.map(String).toSorted(), wanted.map(String).toSorted()];
      if (left.join() !== right.join()) throw new Error(`${name}: ${left.join()} is not ${right.join()}`);
    };
    same('listed tasks', listed, txns);
    same('gauge', [await this.#stage.sidecar.metric('waybill_tasks_open')], [txns.length]);
    same(
      'CSV: tasks',
      cells.filter(([kind]) => kind === 'task').map((row) => row[columns[3]!]),
      txns,
    );
    same(
      'JSON: tasks',
      tasks.map(({ txn }) => txn),
      txns,
    );
    const wanted = held.map(({ task, tool, token }) => `token ${idOf(token.text)} ${tool} ${task.txn}`);
    same(
      'CSV: tokens',
      rows.filter((row) => /^token (?!.* brief )/.test(row)),
      wanted,
    );
    const told = credentials.filter(({ kind, tool }) => kind === 'token' && tool !== 'brief');
    same(
      'JSON: tokens',
      told.map(({ id, tool, txn }) => `token ${String(id)} ${String(tool)} ${String(txn)}`),
      wanted,
    );
  }
}

const describe = (text: string): string => `${String(decodeJwt(text).aud)} ${idOf(text)}`;
