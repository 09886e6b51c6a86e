import type { Settings } from '../../config/settings.ts';
import type { Task } from './task.ts';
import type { OpenedTask } from './opened-task.ts';
import type { TaskBook } from './task-book.ts';
import { TaskRejected } from './task-rejected.ts';

/**
 * The standing task: the agent acting for itself, without a user, for as long as the sidecar runs. Undefined where it is off, or where the
 * agent was revoked: a restart brings nothing back.
 * @param spiffeId the agent's identity, or empty; then its name in the configuration stands for it.
 */
export function openStandingTask(settings: Settings, spiffeId: string, book: TaskBook): Task | undefined {
  const { standing } = settings.tasks;
  if (standing === 'off') return undefined;
  return openUnlessRevoked(() =>
    book.open({
      subject: { iss: '', sub: spiffeId === '' ? settings.agent.name : spiffeId, kind: 'agent' },
      grant: undefined,
      purpose: standing.purpose,
      tools: new Set(standing.tools),
      handles: 'none',
      lifeMs: Infinity,
      standing: true,
      by: 'config',
    }),
  );
}

function openUnlessRevoked(open: () => OpenedTask): Task | undefined {
  try {
    return open().task;
  } catch (error) {
    if (error instanceof TaskRejected && error.reason === 'revoked') return undefined;
    throw error;
  }
}
