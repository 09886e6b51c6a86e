import type { Call } from '../intercept/call.ts';
import type { Ladder } from './ladder.ts';
import { rungsOf } from './rungs.ts';
import { mayBeTraced } from './trace-rung.ts';

/** Says which rungs of the ladder a call could use that named no task: those that this client, at this tool, has. */
export function rungsFor(call: Call, ladder: Ladder): string {
  const rungs = rungsOf({
    hasProxy: call.door !== 'mount',
    headers: call.tool.headers,
    isTraced: ladder.trace.isGiven && mayBeTraced(call, ladder.trace),
    opensTasks: ladder.opensTasks,
    // It would not be asked.
    isStanding: false,
  });
  const places = rungs.filter(({ isPlace }) => isPlace).map(({ text }) => text);
  const others = rungs.filter(({ isPlace }) => !isPlace).map(({ text }) => `Or ${text}.`);
  return [`Send the task handle: ${listed(places)}.`, ...others].join(' ');
}

function listed(places: readonly string[]): string {
  const last = places.at(-1) ?? '';
  return places.length < 2 ? last : `${places.slice(0, -1).join(', ')}, or ${last}`;
}
