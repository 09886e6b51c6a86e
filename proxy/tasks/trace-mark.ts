import type { Settings } from '../../config/settings.ts';
import type { World } from '../world.ts';
import { Recent } from './recent.ts';
import type { Task } from './task.ts';

/** What a text that looks like a mark turned out to be. */
export type MarkFound = Task | 'unknown' | 'previous_process';

const shape = /^wbt_(?<epoch>[A-Za-z0-9_-]{8})[A-Za-z0-9_-]{32}$/;
/** Marks of ended tasks that are remembered, so that their use is told apart from nonsense. */
const maxEndedMarks = 20_000;

/** Whether requests of the way in get a mark. A tool that checks tokens itself gets no handle either: it calls nobody for its caller. */
export function givesMarks({ inbound, tasks }: Settings): boolean {
  return tasks.trace_rung !== 'off' && inbound !== undefined && inbound.present !== 'original';
}

/**
 * The marks of this process: `wbt_`, the process epoch, 192 random bits, in characters that a value of `tracestate` may have (W3C Trace
 * Context 3.3). The way in gives one to each request, tracing carries it from call to call, and the way out reads and removes it. It is
 * no handle: stores of traces see it, so it is good from this machine only, for tools up to a risk, and ends no task.
 */
export class TraceMarks {
  readonly #epoch: string;
  readonly #random: World['random'];
  /** Of open tasks. */
  readonly #tasks = new Map<string, Task>();
  readonly #ended = new Recent<Task>(maxEndedMarks);

  constructor(random: World['random']) {
    this.#random = random;
    this.#epoch = random(6).toString('base64url');
  }

  /** What every mark of this process begins with. */
  get prefix(): string {
    return `wbt_${this.#epoch}`;
  }

  mint(task: Task): string {
    const text = `${this.prefix}${this.#random(24).toString('base64url')}`;
    this.#tasks.set(text, task);
    return text;
  }

  /** Undefined for what does not begin as a mark does, and so names no task. */
  find(text: string): MarkFound | undefined {
    if (!text.startsWith('wbt_')) return undefined;
    const known = this.#tasks.get(text) ?? this.#ended.get(text);
    if (known !== undefined) return known;
    const epoch = shape.exec(text)?.groups?.['epoch'];
    return epoch === undefined || epoch === this.#epoch ? 'unknown' : 'previous_process';
  }

  /** The mark of an ended task is found, and refused as ended. The oldest are forgotten beyond the bound. */
  retire(text: string): void {
    const task = this.#tasks.get(text);
    this.#tasks.delete(text);
    if (task !== undefined) this.#ended.add(text, task);
  }
}
