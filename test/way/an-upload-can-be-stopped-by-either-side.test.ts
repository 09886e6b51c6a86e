import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openBodyTool, patternBytes, sha256 } from '../stage/body-tool.ts';
import { eventsOf, readRecord } from '../stage/event-record.ts';
import { openScriptedTool, type ScriptedTool } from '../stage/scripted-tool.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';
import { openWire, request, type Destination, type Wire } from '../stage/wire.ts';
import { tries } from '../stage/tries.ts';

const promptMs = 100;
const way = 'absolute-form';

let stage: Stage;
let bodies: ScriptedTool;
/** Reads nothing of an upload unless a test does, and never answers. */
let silent: ScriptedTool;
let to: Destination;
let toSilent: Destination;

beforeAll(async () => {
  bodies = await openBodyTool();
  silent = await openScriptedTool(() => undefined);
  stage = await openStage({ tools: { plain: { port: bodies.port }, silent: { port: silent.port } } });
  const { handle } = await stage.task();
  to = { outbound: stage.sidecar.addresses.outbound, handle, plainHost: 'plain.test', tlsHost: '', ca: '' };
  toSilent = { ...to, plainHost: 'silent.test' };
});
afterAll(async () => {
  await stage.close();
  await bodies.close();
  await silent.close();
});

const post = (path: string, headers: Record<string, string>, target = to): Buffer =>
  request(way, target, path, { method: 'POST', headers });

/** Writes without an end, as fast as it is taken. */
function pump(wire: Wire): void {
  const part = Buffer.alloc(65_536, 7);
  const more = (): void => {
    while (!wire.socket.destroyed && wire.socket.writable && wire.socket.write(part));
    if (!wire.socket.destroyed) wire.socket.once('drain', more);
  };
  more();
}

const ends = (path: string) =>
  eventsOf(readRecord(stage.sidecar.eventsFile), path).filter((e) => e.event === 'call.ended');

test('Expect: 100-continue is answered before the body, and only for a call that is let through', async () => {
  const body = patternBytes(200_000);
  const headers = { Expect: '100-continue', 'Content-Length': String(body.length), Connection: 'close' };
  const wire = await openWire(way, to);
  wire.socket.write(post('/up', headers));
  await wire.until('HTTP/1.1 100 Continue\r\n\r\n');
  wire.socket.write(body);
  await wire.untilClosed();
  expect(wire.received).toContain(sha256(body));
  // The tool was not told to expect anything: its own 100 would have been answered twice.
  expect(wire.received).not.toContain('"expect"');

  const refused = await openWire(way, { ...to, plainHost: 'unlisted.test' });
  refused.socket.write(post('/up', headers, { ...to, plainHost: 'unlisted.test' }));
  await refused.untilClosed();
  expect(refused.received).toMatch(/^HTTP\/1\.1 403 /);
  expect(refused.received).not.toContain('100 Continue');
});

test('a refused request that expects, and declares no body, is not waited for', tries, async () => {
  const unlisted = { ...to, plainHost: 'unlisted.test' };
  const wire = await openWire(way, unlisted);
  const startedAt = performance.now();
  wire.socket.write(request(way, unlisted, '/x', { headers: { Expect: '100-continue' } }));
  expect((await wire.untilClosed()) - startedAt).toBeLessThan(1000);
  expect(wire.received).toMatch(/^HTTP\/1\.1 403 [^]*"retryable":false\}$/);
});

test('an answer that comes during the upload reaches the agent', async () => {
  const wire = await openWire(way, to);
  wire.socket.write(post('/too-large-kept', { 'Content-Length': String(500 * 1024 * 1024) }));
  pump(wire);
  await wire.until('too large', 10_000);
  expect(wire.received).toMatch(/^HTTP\/1\.1 413 /);
  wire.socket.destroy();
  await eventually('the end is recorded', () => ends('/too-large-kept').length === 1);
  expect(ends('/too-large-kept')[0]).toMatchObject({ status: 413, outcome: 'ok' });
});

test('a tool that answers and closes at once leaves an answer to the agent: its own, or that it went away', async () => {
  for (let count = 0; count < 10; count += 1) {
    const wire = await openWire(way, to);
    wire.socket.write(post('/too-large', { 'Content-Length': '20000000' }));
    wire.socket.write(Buffer.alloc(20_000_000, 7));
    await wire.until(/too large|upstream_unreachable/, 10_000);
    expect(wire.received).toMatch(/^HTTP\/1\.1 (413|502) /);
    wire.socket.destroy();
  }
});

test('a refusal of a large upload reaches the agent, whatever it still sends', async () => {
  for (let count = 0; count < 10; count += 1) {
    const unlisted = { ...to, plainHost: 'unlisted.test' };
    const wire = await openWire(way, unlisted);
    wire.socket.write(post('/up', { 'Content-Length': '20000000' }, unlisted));
    wire.socket.write(Buffer.alloc(20_000_000, 7));
    await wire.untilClosed();
    expect(wire.received).toContain('destination_unlisted');
  }
});

test('what follows a refused upload on its connection is no request any more', async () => {
  bodies.requests.length = 0;
  const unlisted = { ...to, plainHost: 'unlisted.test' };
  const wire = await openWire(way, unlisted);
  wire.socket.write(post('/up', { 'Content-Length': '100000' }, unlisted));
  await wire.until('destination_unlisted');
  wire.socket.write(Buffer.concat([Buffer.alloc(100_000, 7), request(way, to, '/behind')]));
  await wire.untilClosed();
  expect([...wire.received.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)).toEqual(['403']);
  expect(bodies.requests).toEqual([]);
  const after = await openWire(way, to);
  after.socket.write(request(way, to, '/afterwards'));
  await eventually('a later call is recorded', () => ends('/afterwards').length === 1);
  expect(eventsOf(readRecord(stage.sidecar.eventsFile), '/behind')).toEqual([]);
  after.socket.destroy();
});

test('the rest of an upload that was answered early is never read as a request', async () => {
  const wire = await openWire(way, to);
  const smuggled = post('/smuggled', { 'Content-Length': '0' });
  const rest = Buffer.concat([Buffer.alloc(1_000_000, 7), smuggled]);
  wire.socket.write(post('/too-large-kept', { 'Content-Length': String(1_000_000 + rest.length) }));
  wire.socket.write(Buffer.alloc(1_000_000, 7));
  await wire.until('too large');
  wire.socket.write(rest);
  wire.socket.write(request(way, to, '/hello', { headers: { Connection: 'close' } }));
  await wire.untilClosed();
  expect([...wire.received.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)).toEqual(['413', '200']);
  expect(bodies.requests.filter(({ url }) => url === '/smuggled')).toEqual([]);
});

test.each([
  ['declared', { 'Content-Length': String(500 * 1024 * 1024) }],
  ['in chunks', { 'Transfer-Encoding': 'chunked' }],
])(
  'an agent that leaves its upload is gone for the tool within 100 ms: %s',
  { ...tries, timeout: 5000 },
  async (name, headers) => {
    silent.requests.length = 0;
    const path = `/left-${name.replaceAll(' ', '-')}-${Math.floor(performance.now())}`;
    const wire = await openWire(way, toSilent);
    wire.socket.write(post(path, headers, toSilent));
    const part = Buffer.alloc(100_000, 7);
    wire.socket.write(
      'Content-Length' in headers ? part : Buffer.concat([Buffer.from(`${part.length.toString(16)}\r\n`), part]),
    );
    await eventually('the tool is called', () => silent.requests.length === 1);
    const [seen] = silent.requests;
    seen?.resume();
    const closed = new Promise<number>((done) => seen?.once('close', () => done(performance.now())));
    const leftAt = performance.now();
    wire.socket.destroy();
    expect((await closed) - leftAt).toBeLessThan(promptMs);
    expect(seen?.complete).toBe(false);
    await eventually('the end is recorded', () => ends(path).length === 1);
    expect(ends(path)[0]?.['outcome']).toBe('aborted');
  },
);

test('a tool that dies during the upload ends it, with an answer that says so', tries, async () => {
  silent.requests.length = 0;
  const wire = await openWire(way, toSilent);
  wire.socket.write(post('/dies', { 'Content-Length': String(500 * 1024 * 1024) }, toSilent));
  pump(wire);
  await eventually('the tool is called', () => silent.requests.length === 1);
  const diedAt = performance.now();
  silent.requests[0]?.socket.destroy();
  await wire.until('upstream_unreachable');
  expect(performance.now() - diedAt).toBeLessThan(1000);
  expect(wire.received).toMatch(/^HTTP\/1\.1 502 /);
  await wire.untilClosed(10_000);
});

test('an upload that stops half-way in good order of TCP never looks whole to the tool', async () => {
  silent.requests.length = 0;
  const wire = await openWire(way, toSilent);
  wire.socket.write(post('/half', { 'Content-Length': '200000' }, toSilent));
  wire.socket.end(Buffer.alloc(100_000, 7));
  await eventually('the tool is called', () => silent.requests.length === 1);
  const [seen] = silent.requests;
  seen?.resume();
  await new Promise((done) => seen?.once('close', done));
  expect(seen?.complete).toBe(false);
  wire.socket.destroy();
});
