import { createHash } from 'node:crypto';

/** A task as the test opened it. */
export interface TrueTask {
  readonly txn: string;
  readonly handle: string;
  readonly sub: string;
  readonly purpose: string;
  /** When its subject token was issued, milliseconds. */
  readonly issuedAtMs: number;
  readonly tools: ReadonlySet<string>;
  readonly parent: string | undefined;
  readonly openedAt: string;
  readonly expiresAt: string;
  /** Tools whose credentials were revoked. */
  readonly closed: Set<string>;
  /** The token that its tool was last called with, by tool. */
  readonly tokens: Map<string, TrueToken>;
}

export interface TrueToken {
  readonly text: string;
  readonly issuedAtMs: number;
  usedAtMs: number;
}

type Cuts = Record<'all' | 'agent', number> & Record<'subjects' | 'tools', Map<string, number>>;

/** First 16 hex digits of the SHA-256. */
export const idOf = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16);

/** What is so, told from what the test did and what was answered; it knows nothing of how a sidecar keeps it. */
export class Truth {
  readonly open = new Map<string, TrueTask>();
  /** Tokens that a killed sidecar left to their life. */
  readonly abandoned = new Set<string>();
  readonly #cuts: Cuts = { all: 0, agent: 0, subjects: new Map(), tools: new Map() };
  readonly #useForMs: Readonly<Record<string, number>>;

  /** @param useForMs how long a token of a tool is used, where that is less than its life. */
  constructor(useForMs: Readonly<Record<string, number>>) {
    this.#useForMs = useForMs;
  }

  /** Whether a token that was issued then opens a task for this user. */
  mayOpen(sub: string, issuedAtMs: number): boolean {
    const { all, agent, subjects } = this.#cuts;
    return issuedAtMs >= Math.max(all, agent, subjects.get(sub) ?? 0);
  }

  /** The revocations that count for a user, for those who have to find out. */
  cutsOf(sub: string): string {
    const { all, agent, subjects } = this.#cuts;
    return `all ${all}, agent ${agent}, user ${subjects.get(sub) ?? 0}`;
  }

  add(task: Omit<TrueTask, 'closed' | 'tokens'>): void {
    const closed = [...task.tools].filter((tool) => task.issuedAtMs < (this.#cuts.tools.get(tool) ?? 0));
    this.open.set(task.txn, { ...task, closed: new Set(closed), tokens: new Map() });
  }

  /** A task and its sub-tasks have ended. */
  end(txn: string): number {
    const children = [...this.open.values()].filter(({ parent }) => parent === txn);
    const ended = children.reduce((sum, child) => sum + this.end(child.txn), 0);
    return this.open.delete(txn) ? ended + 1 : ended;
  }

  /** Deadlines that are over. */
  expire(nowMs: number): void {
    for (const { txn, expiresAt } of this.open.values()) if (Date.parse(expiresAt) <= nowMs) this.end(txn);
  }

  revokeAll(kind: 'all' | 'agent', atMs: number): number {
    this.#cuts[kind] = atMs;
    const count = this.open.size;
    this.open.clear();
    return count;
  }

  revokeSubject(sub: string, atMs: number): number {
    this.#cuts.subjects.set(sub, atMs);
    const theirs = [...this.open.values()].filter((task) => task.sub === sub);
    return theirs.reduce((sum, { txn }) => sum + this.end(txn), 0);
  }

  revokeTool(tool: string, atMs: number): void {
    this.#cuts.tools.set(tool, atMs);
    for (const task of this.open.values()) {
      task.tokens.delete(tool);
      // A tool that the task never had stays out of it.
      task.closed.add(tool);
    }
  }

  /** The sidecar was ended. @param isKilled it took nothing back. */
  restart(isKilled: boolean, alive: Iterable<string>): void {
    if (isKilled) for (const text of alive) this.abandoned.add(text);
    this.open.clear();
  }

  /** The tokens that a call could get now. */
  held(nowMs: number): { readonly task: TrueTask; readonly tool: string; readonly token: TrueToken }[] {
    return [...this.open.values()].flatMap((task) =>
      [...task.tokens].flatMap(([tool, token]) =>
        nowMs < token.issuedAtMs + (this.#useForMs[tool] ?? Infinity) ? [{ task, tool, token }] : [],
      ),
    );
  }

  /** Milliseconds to wait, so that for `spanMs` nothing ends by itself, and two who look at it see the same. */
  unrest(nowMs: number, spanMs: number): number {
    const ends = [
      ...[...this.open.values()].map(({ expiresAt }) => Date.parse(expiresAt)),
      ...this.held(nowMs - 1000).map(({ tool, token }) => token.issuedAtMs + (this.#useForMs[tool] ?? Infinity)),
    ];
    const near = ends.filter((end) => end - nowMs > -400 && end - nowMs < spanMs);
    return near.length === 0 ? 0 : Math.max(...near) - nowMs + 450;
  }
}
