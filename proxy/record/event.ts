/** Names of the events that this version writes (one JSON object a line). */
export const eventNames = [
  'boot',
  'call.admitted',
  'call.ended',
  'call.refused',
  'call.probe',
  'task.opened',
  'task.ended',
  'principal.revoked',
  'signal.received',
  'token.issued',
  'token.rejected',
  'token.cut',
  'token.revoked',
  'svid.rotated',
  'svid.lost',
  'config.reloaded',
  'config.rejected',
  'unsafe',
  'checkpoint',
] as const;

export type EventName = (typeof eventNames)[number];

/** Milliseconds since the epoch as RFC 3339. What is the same for all times of one second is remembered. */
export function timestampOf(): (ms: number) => string {
  let lastSecond = Number.NaN;
  let front = '';
  return (ms) => {
    const second = Math.floor(ms / 1000);
    if (second !== lastSecond) {
      const text = new Date(second * 1000).toISOString();
      front = text.slice(0, text.indexOf('.') + 1);
      lastSecond = second;
    }
    return `${front}${Math.floor(ms - second * 1000)
      .toString()
      .padStart(3, '0')}Z`;
  };
}

/** The members of an event beside the common ones, as JSON text without braces. Undefined members are left out. */
export function eventFields(event: EventName, members: Readonly<Record<string, unknown>>): string {
  const text = JSON.stringify(members);
  return text === '{}' ? `"event":"${event}"` : `"event":"${event}",${text.slice(1, -1)}`;
}
