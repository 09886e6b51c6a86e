import type { World } from '../world.ts';
import { findHandleText, mayHoldHandle } from './handle-text.ts';
import type { Task } from './task.ts';

/** What a handle stands for: a task, and with `handles: per_tool` the one tool it may be used at. */
export interface Handle {
  readonly task: Task;
  readonly tool: string | undefined;
}

/** What a text that looks like a handle turned out to be. */
export type HandleFound = Handle | 'unknown' | 'previous_process';

const shape = /^wbh_(?<epoch>[A-Za-z0-9_-]{8})[A-Za-z0-9_-]{43}$/;
/** Handles of ended tasks that are remembered, so that their use is told apart from nonsense. */
const maxTombstones = 20_000;

/**
 * The handles of this process: `wbh_`, the process epoch, 256 random bits. They are worthless anywhere else, and after a restart they
 * are known by their epoch to be old. Texts live in a private map and are given out once, to the owner.
 */
export class HandleBook {
  readonly #epoch: string;
  readonly #random: World['random'];
  readonly #handles = new Map<string, Handle>();
  /** Whole header values under which a handle usually arrives: the way of a call decodes nothing. */
  readonly #spelled = new Map<string, Handle>();
  readonly #textsOf = new WeakMap<Task, string[]>();
  readonly #ended: string[] = [];

  constructor(random: World['random']) {
    this.#random = random;
    this.#epoch = random(6).toString('base64url');
  }

  mint(task: Task, tool: string | undefined): string {
    const text = `wbh_${this.#epoch}${this.#random(32).toString('base64url')}`;
    const handle = { task, tool };
    this.#handles.set(text, handle);
    for (const spelling of spellings(text)) this.#spelled.set(spelling, handle);
    const texts = this.#textsOf.get(task) ?? [];
    texts.push(text);
    this.#textsOf.set(task, texts);
    return text;
  }

  /** The handle that a whole header value carries in its usual form; undefined says nothing yet. */
  findSpelled(value: string): Handle | undefined {
    return this.#spelled.get(value);
  }

  /** Whether a header value carries a handle of any process, also in a form that no rung reads: then it is never passed on. */
  carries(value: string): boolean {
    return this.#spelled.has(value) || findHandleText(value) !== undefined || mayHoldHandle(value);
  }

  find(text: string): HandleFound {
    const known = this.#handles.get(text);
    if (known !== undefined) return known;
    const epoch = shape.exec(text)?.groups?.['epoch'];
    return epoch === undefined || epoch === this.#epoch ? 'unknown' : 'previous_process';
  }

  /** Makes the handles of an ended task tombstones: found, and refused as ended. The oldest are forgotten beyond the bound. */
  retire(task: Task): void {
    for (const text of this.#textsOf.get(task) ?? []) {
      for (const spelling of spellings(text)) this.#spelled.delete(spelling);
      this.#ended.push(text);
    }
    this.#textsOf.delete(task);
    while (this.#ended.length > maxTombstones) this.#handles.delete(this.#ended.shift() ?? '');
  }
}

function spellings(text: string): readonly string[] {
  return [`Bearer ${text}`, text, `Basic ${Buffer.from(`task:${text}`).toString('base64')}`];
}
