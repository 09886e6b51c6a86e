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

/** Milliseconds since the epoch as RFC 3339, remembered for the calls of the same millisecond. */
export function timestampOf(): (ms: number) => string {
  let lastMs = Number.NaN;
  let lastText = '';
  return (ms) => {
    if (ms !== lastMs) {
      lastMs = ms;
      lastText = new Date(ms).toISOString();
    }
    return lastText;
  };
}

/** The members of an event beside the common ones, as JSON text without braces. Undefined members are left out. */
export function eventFields(event: EventName, members: Readonly<Record<string, unknown>>): string {
  const text = JSON.stringify(members);
  return text === '{}' ? `"event":"${event}"` : `"event":"${event}",${text.slice(1, -1)}`;
}
