import type { LoadedSettings } from '../config/load.ts';
import type { Paths } from '../config/paths.ts';
import type { TokenDesk } from './exchange/token-desk.ts';
import type { OpenRecord } from './open-record.ts';
import { readCutOffs } from './steward/cut-off-file.ts';
import { CutOffs } from './tasks/cut-offs.ts';
import { always, Freshness, notYet } from './tasks/freshness.ts';
import { agentPeerOf } from './tasks/peer-binding.ts';
import { TaskBook } from './tasks/task-book.ts';
import type { World } from './world.ts';

/** The tasks of a sidecar, and whom it must not serve any more. */
export interface OpenTasks {
  readonly tasks: TaskBook;
  readonly cutOffs: CutOffs;
}

/**
 * Opens the task book with the cut-offs of earlier runs. Throws where those are there and cannot be read.
 * @param names all that our own agent has had: it is revoked under each of them.
 */
export function openTasks(
  { settings }: LoadedSettings,
  paths: Paths,
  world: World,
  record: OpenRecord,
  desk: TokenDesk,
  names: () => readonly string[],
): OpenTasks {
  const waits = settings.fleet !== undefined && !settings.fleet.unsafe_serve_without_store;
  const freshness = new Freshness(world.monotonic, waits ? notYet : always);
  const cutOffs = new CutOffs(names, readCutOffs(paths.revocationsFile), freshness);
  const ending: ConstructorParameters<typeof TaskBook>[2] = {
    takeBack: (task) => desk.dropTask(task.txn, task.state === 'open' ? 'revoked' : task.state),
    recordOpened: (task, by) => record.trail.taskOpened(task, by),
    recordEnded: (task, by) => record.trail.taskEnded(task, by),
  };
  const tasks = new TaskBook(world, settings.tasks.max_open, ending, cutOffs, agentPeerOf(settings));
  return { tasks, cutOffs };
}
