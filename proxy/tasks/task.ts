import type { InboundChain } from '../delegation/link-signer.ts';
import { makeProofKey, type ProofKey } from '../proofs/dpop.ts';
import { Secret } from '../trust/secret.ts';
import type { PeerBinding } from './peer-binding.ts';

const states = ['open', 'completed', 'failed', 'expired', 'revoked'] as const;

export type TaskState = (typeof states)[number];

/** Whether a text is one of them. */
export function isTaskState(text: string): text is TaskState {
  return states.some((state) => state === text);
}

/** For whom a task works. `iss` is empty where the agent itself is the subject. */
export interface TaskSubject {
  readonly iss: string;
  readonly sub: string;
  readonly kind: 'user' | 'workload' | 'agent';
}

/** The token that the task was opened with, verified: what its exchanges hand in. Never leaves the process but to a token service. */
export interface TaskGrant {
  readonly token: Secret;
  /** Token type URI of RFC 8693 3. */
  readonly tokenType: string;
  readonly iss: string;
  readonly sub: string;
  readonly expiresAtMs: number;
  readonly act?: unknown;
  /** `jti` of the token, or undefined where it has none: what the first link of a chain names as its root. */
  readonly jti?: string | undefined;
}

/** The transaction token that a task came with, verified: carried on unchanged inside its trust domain, and nowhere else. */
export interface TaskTxnToken {
  readonly text: Secret;
  readonly txn: string;
  readonly expiresAtMs: number;
}

/** The delegation that a task was opened with, verified. */
export type TaskChain = InboundChain;

export interface TaskParts {
  readonly txn: string;
  readonly subject: TaskSubject;
  readonly grant: TaskGrant | undefined;
  readonly purpose: string;
  /** Names of the tools it may use. */
  readonly tools: ReadonlySet<string>;
  readonly openedAtMs: number;
  /** When the token, or without one the certificate, was issued that it was opened with; undefined: not known. */
  readonly issuedAtMs: number | undefined;
  /** Infinity for the standing task. */
  readonly expiresAtMs: number;
  readonly parent: Task | undefined;
  readonly standing: boolean;
  /** SPIFFE ID of the workload whose request opened it, or empty. */
  readonly caller: string;
  readonly chain: TaskChain | undefined;
  readonly txnToken: TaskTxnToken | undefined;
  /** When the certificate of its caller was issued, where there is one. */
  readonly callerIssuedAtMs?: number | undefined;
  /** Whose connections may call in it. */
  readonly peer: PeerBinding;
  /** Tools of which it gets no credentials, because they were revoked after its own token was issued. */
  readonly closedTools: ReadonlySet<string>;
}

/** A call under way that its task can end. */
export interface Cuttable {
  /** The request of a caller on the way in, who has had nothing of the answer yet. */
  readonly isAwaited: boolean;
  /** Whether it is a call of the way out to this tool. */
  isTo(tool: string): boolean;
  stop(why: 'cut'): void;
}

const none: readonly Cuttable[] = [];

/** One piece of delegated work. Everything that is held for it (credentials, streams, handles) ends with it. */
export class Task {
  readonly txn: string;
  readonly subject: TaskSubject;
  readonly purpose: string;
  readonly tools: ReadonlySet<string>;
  readonly openedAtMs: number;
  readonly issuedAtMs: number | undefined;
  readonly expiresAtMs: number;
  readonly parent: Task | undefined;
  readonly standing: boolean;
  readonly caller: string;
  readonly callerIssuedAtMs: number | undefined;
  readonly peer: PeerBinding;
  #chain: TaskChain | undefined;
  #txnToken: TaskTxnToken | undefined;
  #grant: TaskGrant | undefined;
  #proofKey: ProofKey | undefined;
  #state: TaskState = 'open';
  #endedAtMs: number | undefined;
  #cause: string | undefined;
  /** Made when first needed: most tasks of the way in call no tool. */
  #errands: Map<string, Errand> | undefined;
  /** The call under way in slot 0: most tasks of the way in have just the one that opened them. */
  #firstInFlight: Cuttable | undefined;
  /** The other slots, used again. A Set that grows and shrinks chains its old tables, and each keeps calls alive past their end. */
  #inFlight: (Cuttable | undefined)[] | undefined;
  #freeSlots: number[] | undefined;
  #closedTools: ReadonlySet<string>;

  constructor(parts: TaskParts) {
    this.txn = parts.txn;
    this.subject = parts.subject;
    this.purpose = parts.purpose;
    this.tools = parts.tools;
    this.openedAtMs = parts.openedAtMs;
    this.issuedAtMs = parts.issuedAtMs;
    this.expiresAtMs = parts.expiresAtMs;
    this.parent = parts.parent;
    this.standing = parts.standing;
    this.caller = parts.caller;
    this.#chain = parts.chain;
    this.#txnToken = parts.txnToken;
    this.callerIssuedAtMs = parts.callerIssuedAtMs;
    this.peer = parts.peer;
    this.#grant = parts.grant;
    this.#closedTools = parts.closedTools;
  }

  get state(): TaskState {
    return this.#state;
  }

  get endedAtMs(): number | undefined {
    return this.#endedAtMs;
  }

  get cause(): string | undefined {
    return this.#cause;
  }

  get grant(): TaskGrant | undefined {
    return this.#grant;
  }

  /** Of an ended task, this and the transaction token have no text, and are carried on by nobody. */
  get chain(): TaskChain | undefined {
    return this.#chain;
  }

  get txnToken(): TaskTxnToken | undefined {
    return this.#txnToken;
  }

  /** Whether the credentials of a tool were revoked since this task's own token was issued: it gets no new ones. */
  hasClosed(tool: string): boolean {
    return this.#closedTools.has(tool);
  }

  /** The credentials of a tool are revoked: its calls under way are cut, and it gets no new ones in this task. */
  closeTool(tool: string): void {
    this.#closedTools = new Set([...this.#closedTools, tool]);
    for (const call of this.#underWay()) if (call.isTo(tool)) call.stop('cut');
  }

  /** Cuts its calls under way, but those to these tools; it stays open. */
  cutCalls(spared: readonly string[]): void {
    for (const call of this.#underWay()) if (!spared.some((tool) => call.isTo(tool))) call.stop('cut');
  }

  /** The key that this task's tokens are bound to: made when first needed, never stored, never shared with another task. */
  proofKey(): ProofKey {
    this.#proofKey ??= makeProofKey();
    return this.#proofKey;
  }

  /** This task at one tool: what rooms prepare once per (task, tool) hangs on it. */
  errand(tool: string): Errand {
    const errands = (this.#errands ??= new Map());
    const known = errands.get(tool);
    if (known !== undefined) return known;
    const errand = new Errand(this, tool);
    errands.set(tool, errand);
    return errand;
  }

  /** Nothing that hangs on it goes on: the tool is another one now, though calls under way keep what they have. */
  forgetErrand(tool: string): void {
    this.#errands?.delete(tool);
  }

  /** Registers a call under way, to be cut when the task ends. Returns the slot to give back. */
  holdOpen(call: Cuttable): number {
    if (this.#firstInFlight === undefined) {
      this.#firstInFlight = call;
      return 0;
    }
    const inFlight = (this.#inFlight ??= []);
    const slot = this.#freeSlots?.pop() ?? inFlight.length + 1;
    inFlight[slot - 1] = call;
    return slot;
  }

  letGo(slot: number): void {
    if (slot === 0) this.#firstInFlight = undefined;
    else if (this.#inFlight?.[slot - 1] !== undefined) {
      this.#inFlight[slot - 1] = undefined;
      (this.#freeSlots ??= []).push(slot);
    }
  }

  /**
   * Ends the task: cuts its calls and forgets its grant and key. Only the task book calls this; a second end changes nothing.
   * @param sparing the requests that are still to be answered: what the agent says of the end is the answer to them.
   */
  end(state: Exclude<TaskState, 'open'>, cause: string, nowMs: number, sparing: boolean): void {
    if (this.#state !== 'open') return;
    this.#state = state;
    this.#cause = cause;
    this.#endedAtMs = nowMs;
    this.#grant = undefined;
    // Ended tasks are remembered by the thousand, and each request of a mesh has a chain of its own.
    this.#chain = this.#chain && { ...this.#chain, value: '' };
    this.#txnToken = this.#txnToken && { ...this.#txnToken, text: new Secret(''), expiresAtMs: -Infinity };
    this.#proofKey = undefined;
    this.#errands = undefined;
    const underWay = this.#underWay();
    this.#firstInFlight = undefined;
    this.#inFlight = undefined;
    this.#freeSlots = undefined;
    for (const call of underWay) if (!sparing || !call.isAwaited) call.stop('cut');
  }

  #underWay(): readonly Cuttable[] {
    if (this.#firstInFlight === undefined && this.#inFlight === undefined) return none;
    return [this.#firstInFlight, ...(this.#inFlight ?? [])].filter((call) => call !== undefined);
  }
}

/** One task at one tool. Its identity is the key of what the rooms remember for the pair. */
export class Errand {
  readonly task: Task;
  readonly tool: string;

  constructor(task: Task, tool: string) {
    this.task = task;
    this.tool = tool;
  }
}
