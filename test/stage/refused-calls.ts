import { expect } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { readRecord, type RecordedEvent } from './event-record.ts';
import type { RawAnswer } from './raw-call.ts';
import { exchangeOn, openTunnel, requestBytes } from './raw-call.ts';

/** A call of a table, with what it was. */
export interface TriedCall {
  readonly what: string;
  readonly answer: RawAnswer;
}

/** Id of the call, as a refusal tells it. */
export function callIdOf(answer: RawAnswer): string {
  const { event } = JSON.parse(answer.body) as { event?: string };
  if (event === undefined) throw new Error(`the answer names no event: ${answer.status} ${answer.body}`);
  return event;
}

/** The events of each call, in the order of the calls; waits until each has one. */
export async function eventsOfCalls(eventsFile: string, calls: readonly TriedCall[]): Promise<RecordedEvent[][]> {
  const ids = calls.map(({ answer }) => callIdOf(answer));
  let found: RecordedEvent[][] = [];
  await eventually('each refused call has an event', () => {
    const events = readRecord(eventsFile);
    found = ids.map((id) => events.filter((event) => event['id'] === id));
    return found.every((list) => list.length > 0);
  });
  return found;
}

/**
 * Every call was refused with this status and one of these codes, as a problem with a hint, and has one event that says the same.
 * Reported is what differs, by what was tried.
 */
export async function expectRefused(
  eventsFile: string,
  calls: readonly TriedCall[],
  status: number,
  ...codes: string[]
): Promise<void> {
  const wrong = calls.filter(({ answer }) => answer.status !== status || !codes.includes(answer.code ?? ''));
  expect(wrong.map(({ what, answer }) => `${what}: ${answer.status} ${answer.code}`)).toEqual([]);
  for (const { what, answer } of calls) {
    const { type, title, detail, hint, retryable } = JSON.parse(answer.body) as Record<string, unknown>;
    expect([what, type]).toEqual([what, `https://waybill.dev/refusals/${answer.code}`]);
    expect(
      [title, detail, hint].every((text) => typeof text === 'string' && text !== ''),
      what,
    ).toBe(true);
    expect(typeof retryable).toBe('boolean');
    // Nobody can tell where the next request would begin behind one that is broken.
    if (answer.code === 'message_malformed') expect([what, answer.headers['connection']]).toEqual([what, 'close']);
  }
  const events = await eventsOfCalls(eventsFile, calls);
  const told = events.map((list) => list.map((event) => [event.event, event['code'], event['status']]));
  expect(told).toEqual(calls.map(({ answer }) => [['call.refused', answer.code, answer.status]]));
}

/** The answer inside a new tunnel, or the answer to its CONNECT where that is refused. */
export async function callInTunnel(
  outbound: string,
  target: string,
  tunnel: Parameters<typeof openTunnel>[2],
  request: { method?: string; url?: string; headers: Record<string, string>; body?: string },
): Promise<RawAnswer> {
  let socket;
  try {
    socket = await openTunnel(outbound, target, tunnel);
  } catch (error) {
    const { answer } = error as { answer?: RawAnswer };
    if (answer !== undefined) return answer;
    throw error;
  }
  try {
    const headers = {
      ...request.headers,
      ...(request.body === undefined ? {} : { 'Content-Length': String(request.body.length) }),
    };
    return await exchangeOn(socket, requestBytes(request.method ?? 'GET', request.url ?? '/', headers, request.body));
  } finally {
    socket.destroy();
  }
}
