import type { Call } from '../intercept/call.ts';
import type { Ladder } from './ladder.ts';
import { mayBeTraced } from './trace-rung.ts';

/** Says which rungs of the ladder a call could use that named no task: those that this client, at this tool, has. */
export function rungsFor(call: Call, ladder: Ladder): string {
  const places = ['as Authorization: Bearer', ...namesFor(call).map((name) => `as ${name}`)];
  // A mount is no proxy: its client sends no credential for one.
  if (call.door !== 'mount') places.unshift('as the password of the proxy URL (http://task:HANDLE@proxy)');
  const ways = [`Send the task handle: ${listed(places)}.`];
  if (ladder.trace.isGiven && mayBeTraced(call, ladder.trace))
    ways.push('Or send traceparent and tracestate of the request that the call is made for, as OpenTelemetry does.');
  if (ladder.opensTasks)
    ways.push('Or open a task with the token of its user: POST /v1/tasks at http://waybill.local through the proxy.');
  return ways.join(' ');
}

function namesFor({ tool }: Call): readonly string[] {
  return [...new Set(['x-api-key', ...tool.headers])].filter((name) => name !== 'authorization');
}

function listed(places: readonly string[]): string {
  const last = places.at(-1) ?? '';
  return places.length < 2 ? last : `${places.slice(0, -1).join(', ')}, or ${last}`;
}
