import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Caller } from '../stage/caller.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const parent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
let stage: WayInStage;
let caller: Caller;

beforeAll(async () => {
  stage = await openWayIn();
  caller = await stage.caller();
});
afterAll(() => stage?.close());

describe('W12: what the program reads of the trace is ours and its caller’s, and nobody’s member “waybill” but ours', () => {
  const long = (name: string, length: number): string => `${name}=${'x'.repeat(length)}`;
  const many = Array.from({ length: 32 }, (_, at) => `v${at}=1`);
  test.for([
    ['none', [], undefined, ''],
    [
      'one that goes on',
      [
        ['traceparent', parent],
        ['tracestate', 'a=1, b=2'],
      ],
      parent,
      ',a=1,b=2',
    ],
    [
      'several lines',
      [
        ['TraceState', 'a=1'],
        ['traceparent', parent],
        ['tracestate', 'b=2'],
      ],
      parent,
      ',a=1,b=2',
    ],
    [
      'the member of another',
      [
        ['traceparent', parent],
        ['tracestate', 'a=1,waybill=wbt_x,WAYBILL=y'],
      ],
      parent,
      ',a=1',
    ],
    ['a state without a trace', [['tracestate', 'a=1']], undefined, ''],
    [
      'a trace that cannot be read',
      [
        ['traceparent', `${parent}0`],
        ['tracestate', 'a=1'],
      ],
      undefined,
      '',
    ],
    [
      'as many members as there may be',
      [
        ['traceparent', parent],
        ['tracestate', many.join()],
      ],
      parent,
      `,${many.slice(0, 31).join()}`,
    ],
    [
      'too much for a propagator',
      [
        ['traceparent', parent],
        ['tracestate', [long('a', 200), long('b', 100), long('c', 120), long('d', 200), long('e', 100)].join()],
      ],
      parent,
      `,${[long('b', 100), long('c', 120), long('e', 100)].join()}`,
    ],
  ] as [string, [string, string][], string | undefined, string][])('%s', async ([, headers, traceparent, rest]) => {
    expect((await caller.send({ path: '/one', headers })).status).toBe(200);
    const seen = stage.program.seen.findLast(({ path }) => path === '/one')!;
    const state = String(seen.headers['tracestate']);
    expect(state).toMatch(/^waybill=wbt_[A-Za-z0-9_-]{40}(?:,|$)/);
    expect(state.slice(52)).toBe(rest);
    const began = String(seen.headers['traceparent']);
    if (traceparent === undefined) expect(began).toMatch(/^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-01$/);
    else expect(began).toBe(traceparent);
    expect(seen.rawHeaders.filter((name) => /^trace(?:parent|state)$/i.test(name)).length).toBe(2);
  });
});
