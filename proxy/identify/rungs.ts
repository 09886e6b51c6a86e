/** What one client has at one tool to say for which task it calls. */
export interface RungClient {
  /** Whether it calls through the proxy; a client of a mount sends no credential for one. */
  readonly hasProxy: boolean;
  /** Headers beside `Authorization` in which the tool takes a handle. */
  readonly headers: readonly string[];
  /** Whether requests carry a mark that counts at this tool. */
  readonly isTraced: boolean;
  /** Whether the agent may open tasks itself. */
  readonly opensTasks: boolean;
  /** Whether a call that names no task is one of the agent itself there. */
  readonly isStanding: boolean;
}

/** One rung of the ladder, or the door that leads to one; the text goes behind "send the task handle" for a place, else behind "or". */
export interface Rung {
  readonly name: 'proxy' | 'header' | 'trace' | 'own_door' | 'standing';
  readonly isPlace: boolean;
  readonly text: string;
}

/** The rungs that a client has, in the order in which they are told: the one list for the hint of `task_unknown` and the doctor. */
export function rungsOf({ hasProxy, headers, isTraced, opensTasks, isStanding }: RungClient): readonly Rung[] {
  const names = new Set(['x-api-key', ...headers].filter((name) => name !== 'authorization'));
  const all: readonly (readonly [has: boolean, name: Rung['name'], isPlace: boolean, text: string])[] = [
    [hasProxy, 'proxy', true, 'as the password of the proxy URL (http://task:HANDLE@proxy)'],
    [true, 'header', true, 'as Authorization: Bearer'],
    ...[...names].map((name) => [true, 'header', true, `as ${name}`] as const),
    [
      isTraced,
      'trace',
      false,
      'send traceparent and tracestate of the request that the call is made for, as OpenTelemetry does',
    ],
    [
      opensTasks,
      'own_door',
      false,
      'open a task with the token of its user: POST /v1/tasks at http://waybill.local through the proxy',
    ],
    [isStanding, 'standing', false, 'name no task: the call is one of the agent itself'],
  ];
  return all.filter(([has]) => has).map(([, name, isPlace, text]) => ({ name, isPlace, text }));
}
