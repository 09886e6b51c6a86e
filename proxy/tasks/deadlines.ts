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
  /** Its end by the time that passes, monotonic milliseconds; set when it is watched. */
  endsAt: number | undefined;
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
    this.#young = new WaitingLine(settledMs, world.monotonic, (timed) => this.#arm(timed));
  }

  /** A timer of its own only for a task that ends soon, or that is still open when others of its time are not. */
  watch(timed: Timed): void {
    const leftMs = timed.opened.task.expiresAtMs - this.#world.now();
    if (leftMs === Infinity) return;
    timed.endsAt = this.#world.monotonic() + leftMs;
    if (leftMs <= settledMs) this.#arm(timed);
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

  /** Both are asked anew each time: a clock that was set back gives nothing, and one that was ahead for a moment takes nothing. */
  #leftOf({ opened, endsAt = Infinity }: Timed): number {
    return Math.min(opened.task.expiresAtMs - this.#world.now(), endsAt - this.#world.monotonic());
  }

  #arm(timed: Timed): void {
    const { task } = timed.opened;
    if (task.state !== 'open') return;
    const waitMs = Math.max(0, Math.min(this.#leftOf(timed), lookAgainMs));
    timed.deadline = setTimeout(() => {
      if (this.#leftOf(timed) > 0) this.#arm(timed);
      else if (task.state === 'open') this.#onOver(task);
    }, waitMs).unref();
  }
}
