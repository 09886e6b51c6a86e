import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import type { Caller } from '../stage/caller.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { readRecord, type RecordedEvent } from '../stage/event-record.ts';
import { callThrough, type RawAnswer } from '../stage/raw-call.ts';
import { expectPasses } from '../stage/refused-way-in.ts';
import { findSecrets, secretsOfToken } from '../stage/secret-scan.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';
import { openStage } from '../stage/way-out-stage.ts';

let stage: WayInStage;
let tool: EchoTool;
let caller: Caller;
/** A token that the sidecar has never seen. */
let foreign: string;

beforeAll(async () => {
  tool = await openEchoTool();
  stage = await openWayIn({
    inbound: { present: 'handle' },
    sections: {
      tasks: { linger: '1m' },
      rules: [
        { name: 'no-writes', effect: 'deny', when: 'call.method == "PUT"' },
        { name: 'all', effect: 'allow', when: 'true' },
      ],
    },
    tools: { crm: { port: tool.port }, plain: { port: tool.port, token: false } },
  });
  caller = await stage.caller();
  // Its question for a nonce was refused, and that is written a little later: it belongs to none of the calls below.
  const asked = (): boolean => readRecord(stage.sidecar.eventsFile).some((event) => pathOf(event) === '/');
  await eventually('the question for a nonce is in the record', asked);
  foreign = await stage.service.subjectToken({ sub: 'mallory', aud: 'https://elsewhere.example.org' });
});
afterAll(async () => {
  await stage?.close();
  await tool?.close();
});

/** A token in a path, in the spellings in which dots and letters come. */
function pathsWith(token: string): string[] {
  const encoded = token.replaceAll('.', '%2E');
  const lower = token.replaceAll('.', '%2e');
  return [`/t/${token}`, `/t/${encoded}`, `/t/${lower}/more`, `/t/x-${token}.json`];
}

const pathOf = (event: RecordedEvent): unknown => (event['target'] as { path?: string } | undefined)?.path;
const paths = (of: readonly RecordedEvent[]): unknown[] => of.map(pathOf);

/** Events of calls by one way that came of this, as many as are expected: those of refusals are written a little later. */
async function eventsOf(count: number, way: string, run: () => Promise<void>): Promise<RecordedEvent[]> {
  const before = readRecord(stage.sidecar.eventsFile).length;
  await run();
  let found: RecordedEvent[] = [];
  await eventually('each call has its event', () => {
    const all = readRecord(stage.sidecar.eventsFile).slice(before);
    found = all.filter((event) => event['way'] === way && event['target'] !== undefined);
    return found.length >= count;
  });
  expect(found.length).toBe(count);
  return found;
}

describe('W8: a path that holds a token is forwarded as it came, and withheld from the record', () => {
  test('on the way in, admitted and refused', async () => {
    for (const token of [caller.token, foreign]) {
      for (const path of pathsWith(token)) {
        const events = await eventsOf(4, 'in', async () => {
          await expectPasses(stage, path, () => caller.send({ path }));
          expect((await caller.send({ path, method: 'PUT' })).code).toBe('denied_by_rule');
          expect((await caller.send({ path, htm: 'PUT' })).code).toBe('proof_wrong_method');
          expect((await caller.send({ path, token: null, proof: null })).code).toBe('token_missing');
        });
        expect([path, ...paths(events)]).toEqual([path, ...events.map(() => '[withheld]')]);
        expect(stage.program.seen.at(-1)?.path).toBe(path);
      }
    }
  });

  test('on the way out, admitted and refused', async () => {
    await expectPasses(stage, 'request', () => caller.send());
    const handle = String(stage.program.seen.at(-1)?.headers.authorization).replace('Bearer ', '');
    const use = (name: string, path: string, method = 'GET'): Promise<RawAnswer> =>
      callThrough(stage.sidecar.addresses.outbound, `http://${name}.test${path}`, { handle, method });
    for (const path of pathsWith(foreign)) {
      const events = await eventsOf(3, 'out', async () => {
        for (const name of ['crm', 'plain']) expect([path, (await use(name, path)).status]).toEqual([path, 200]);
        expect((await use('crm', path, 'PUT')).code).toBe('denied_by_rule');
      });
      expect([path, ...paths(events)]).toEqual([path, ...events.map(() => '[withheld]')]);
      expect(tool.seen.at(-1)?.path).toBe(path);
    }
  });

  test('what only begins like one is recorded as it is', async () => {
    for (const path of ['/eyes/v1.2.3/x', '/keys/eyJhbGciOiJFUzI1NiJ9', '/hey.you.there']) {
      const events = await eventsOf(1, 'in', () => expectPasses(stage, path, () => caller.send({ path })));
      expect(paths(events)).toEqual([path]);
    }
  });

  test('nothing of the tokens is in the record, the log or the metrics', async () => {
    const secrets = [...secretsOfToken('the caller’s', caller.token), ...secretsOfToken('a foreign one', foreign)];
    const left = {
      events: JSON.stringify(readRecord(stage.sidecar.eventsFile)),
      log: stage.sidecar.output(),
      metrics: await stage.sidecar.metrics(),
    };
    const leftovers = Object.entries(left).map(([where, found]) => ({ where, bytes: Buffer.from(found) }));
    expect(findSecrets(secrets, leftovers)).toEqual([]);
  });

  test('also where its first letters are escaped: whoever decodes the record would have it', async () => {
    for (const path of [`/t/${foreign.replaceAll('ey', '%65y')}`, `/t/${foreign.replaceAll('ey', 'e%79')}`]) {
      const events = await eventsOf(1, 'in', () => expectPasses(stage, path, () => caller.send({ path })));
      expect([path, ...paths(events)]).toEqual([path, '[withheld]']);
    }
  });
});

test.for(['keyjar-service.example.org', 'eyjafjallajokull.example.org', 'api.heyjobs.example.org'])(
  'the host of a tool is in the record as the configuration names it: %s',
  async (host) => {
    const honest = await openStage({ tools: { crm: { host, port: tool.port } } });
    try {
      const { handle } = await honest.task();
      expect((await callThrough(honest.sidecar.addresses.outbound, `http://${host}/x`, { handle })).status).toBe(200);
      const admitted = readRecord(honest.sidecar.eventsFile).find(({ event }) => event === 'call.admitted');
      expect(admitted?.['target']).toMatchObject({ host });
    } finally {
      await honest.close();
    }
  },
);
