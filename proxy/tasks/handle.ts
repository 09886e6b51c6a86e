import type { World } from '../world.ts';
import { findHandleText, handleTextsIn, mayHoldHandle, standsAlone } from './handle-text.ts';
import { Recent } from './recent.ts';
import type { Task } from './task.ts';
import type { UseCount } from './use-count.ts';

/** What a handle stands for: a task, and with `handles: per_tool` the one tool it may be used at. */
export interface Handle {
  readonly task: Task;
  readonly tool: string | undefined;
  /** How often it may still be used; undefined: as often as one likes. */
  readonly uses: UseCount | undefined;
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
  /** Of open tasks. */
  readonly #handles = new Map<string, Handle>();
  readonly #ended = new Recent<Handle>(maxTombstones);

  constructor(random: World['random']) {
    this.#random = random;
    this.#epoch = random(6).toString('base64url');
  }

  /** What every handle of this process begins with: no secret, and so random that no other text has it. */
  get prefix(): string {
    return `wbh_${this.#epoch}`;
  }

  mint(task: Task, tool: string | undefined, uses?: UseCount): string {
    const text = `${this.prefix}${this.#random(32).toString('base64url')}`;
    this.#handles.set(text, { task, tool, uses });
    return text;
  }

  /** The handle of an open task that a whole header value carries in a usual form; undefined says nothing yet. */
  findSpelled(value: string): Handle | undefined {
    if (value.startsWith('Bearer ')) return this.#handles.get(value.slice(7));
    return this.#handles.get(value.startsWith('Basic ') ? passwordOf(value.slice(6)) : value);
  }

  /**
   * Whether a header value carries a handle of any process, also in a form that no rung reads: then it is never passed on. In the random
   * letters of somebody else's key or token, only a handle of this process counts: one such text in some ten thousand has the mark.
   */
  carries(value: string): boolean {
    if (this.findSpelled(value) !== undefined || findHandleText(value) !== undefined) return true;
    if (!mayHoldHandle(value)) return false;
    return standsAlone(value) || handleTextsIn(value).some((text) => typeof this.find(text) === 'object');
  }

  find(text: string): HandleFound {
    const known = this.#handles.get(text) ?? this.#ended.get(text);
    if (known !== undefined) return known;
    const epoch = shape.exec(text)?.groups?.['epoch'];
    return epoch === undefined || epoch === this.#epoch ? 'unknown' : 'previous_process';
  }

  /** Makes a handle of an ended task a tombstone: found, and refused as ended. The oldest are forgotten beyond the bound. */
  retire(text: string): void {
    const handle = this.#handles.get(text);
    this.#handles.delete(text);
    if (handle !== undefined) this.#ended.add(text, handle);
  }
}

/** Bytes of `task:` and a handle, in base64. */
const basicLength = 92;

/** The password of user `task`, from the one spelling that clients give it; anything else is empty. */
function passwordOf(basic: string): string {
  if (basic.length !== basicLength) return '';
  const bytes = Buffer.from(basic, 'base64');
  const plain = bytes.toString('latin1');
  return plain.startsWith('task:') && bytes.toString('base64') === basic ? plain.slice(5) : '';
}
