import type { World } from '../world.ts';
import type { OpenedTask } from './opened-task.ts';
import type { Task } from './task.ts';
import { WaitingLine } from './waiting-line.ts';

/** Most tasks of requests are over by then. A timer for each of them, with a time of its own, costs more than the rest of its opening. */
const settledMs = 5000;
/** Timers stand still while the machine sleeps, and do not see that the clock was set: it is looked at so often. */
const lookAgainMs = 10_000;

/** An open task, with what is let go of its deadline when it ends. */
export interface Timed {
  readonly opened: OpenedTask;
  deadline: NodeJS.Timeout | undefined;
  /** Its number in the line of the young. */
  young: number | undefined;
}

/** Ends tasks in time: by the clock or by the time that has passed, whichever comes first. */
export class Deadlines {
  readonly #world: Pick<World, 'monotonic' | 'now'>;
  readonly #onOver: (task: Task) => void;
  readonly #young: WaitingLine<Timed>;

  constructor(world: Pick<World, 'monotonic' | 'now'>, onOver: (task: Task) => void) {
    this.#world = world;
    this.#onOver = onOver;
    this.#young = new WaitingLine(settledMs, world.monotonic, (timed) => this.#arm(timed, this.#leftOf(timed)));
  }

  /** A timer of its own only for a task that ends soon, or that is still open when others of its time are not. */
  watch(timed: Timed): void {
    const leftMs = this.#leftOf(timed);
    if (leftMs === Infinity) return;
    if (leftMs <= settledMs) this.#arm(timed, leftMs);
    else timed.young = this.#young.add(timed);
  }

  forget({ deadline, young }: Timed): void {
    clearTimeout(deadline);
    if (young !== undefined) this.#young.leave(young);
  }

  /** Ends a task whose time is over, though no timer has said so yet. */
  check(task: Task): void {
    if (task.expiresAtMs <= this.#world.now() && task.state === 'open') this.#onOver(task);
  }

  #leftOf({ opened }: Timed): number {
    return opened.task.expiresAtMs - this.#world.now();
  }

  #arm(timed: Timed, leftMs: number): void {
    const { task } = timed.opened;
    if (task.state !== 'open') return;
    const waitMs = Math.min(leftMs, lookAgainMs);
    timed.deadline = setTimeout(() => {
      // A clock that was set back gives nothing.
      const restMs = Math.min(leftMs - waitMs, this.#leftOf(timed));
      if (restMs > 0) this.#arm(timed, restMs);
      else if (task.state === 'open') this.#onOver(task);
    }, waitMs).unref();
  }
}
