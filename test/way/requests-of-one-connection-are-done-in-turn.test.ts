import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { eventsOf, readRecord } from '../stage/event-record.ts';
import { openScriptedTool, type ScriptedTool } from '../stage/scripted-tool.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';
import { openWire, request, type Destination, type Wire } from '../stage/wire.ts';

let tool: ScriptedTool;
let stage: Stage;
let to: Destination;
const done: string[] = [];
const way = 'absolute-form';

beforeAll(async () => {
  tool = await openScriptedTool((seen, response) => {
    const { method, url } = seen;
    done.push(`${method} ${url} begins`);
    response.once('close', () => done.push(`${method} ${url} is left`));
    if (url?.startsWith('/never') === true) return;
    setTimeout(
      () => {
        done.push(`${method} ${url} is done`);
        response.end(`answer of ${url}`);
      },
      url === '/slow' ? 300 : 0,
    );
  });
  stage = await openStage({ tools: { plain: { port: tool.port } } });
  const { handle } = await stage.task();
  to = { outbound: stage.sidecar.addresses.outbound, handle, plainHost: 'plain.test', tlsHost: '', ca: '' };
});
afterAll(async () => {
  await stage?.close();
  await tool?.close();
});
beforeEach(() => void done.splice(0));

/** Connections that were ended because too much waited on them. */
const told = () => stage.sidecar.events().filter((e) => e['cause'] === 'too_many_requests_at_once');

/** Asks for what is never answered, with something behind it, and waits until the tool has begun. */
async function askForEver(path: string, behind: readonly Buffer[]): Promise<Wire> {
  const wire = await openWire(way, to);
  wire.socket.write(Buffer.concat([request(way, to, path), ...behind]));
  await eventually('the first is begun', () => begun().length === 1);
  return wire;
}

const begun = (): string[] => done.filter((line) => !line.endsWith('left'));

test('what changes something is not begun before what was asked for before it', async () => {
  const wire = await openWire(way, to);
  const body = Buffer.from('{"a":1}');
  const headers = { 'Content-Length': String(body.length) };
  wire.socket.write(
    Buffer.concat([
      request(way, to, '/slow', { method: 'DELETE' }),
      request(way, to, '/second', { method: 'POST', headers, body }),
      request(way, to, '/third'),
    ]),
  );
  await wire.until('answer of /third');
  wire.socket.destroy();
  expect(begun()).toEqual([
    'DELETE /slow begins',
    'DELETE /slow is done',
    'POST /second begins',
    'POST /second is done',
    'GET /third begins',
    'GET /third is done',
  ]);
  expect([...wire.received.matchAll(/answer of (\S+?)(?=HTTP|$)/g)].map(([, path]) => path)).toEqual([
    '/slow',
    '/second',
    '/third',
  ]);
});

test('a thousand at once are answered in their order', async () => {
  const wire = await openWire(way, to);
  const paths = Array.from({ length: 1000 }, (_, at) => `/n${at}`);
  wire.socket.write(Buffer.concat([request(way, to, '/slow'), ...paths.map((path) => request(way, to, path))]));
  await wire.until('answer of /n999', 20_000);
  wire.socket.write(request(way, to, '/behind'));
  await wire.until('answer of /behind');
  wire.socket.destroy();
  const answered = [...wire.received.matchAll(/answer of (\/\w+?)(?=HTTP|$)/g)].map(([, path]) => path);
  expect(answered).toEqual(['/slow', ...paths, '/behind']);
});

test('one that leaves ends what is under way, and begins nothing more', async () => {
  const waiting = Array.from({ length: 200 }, (_, at) => request(way, to, `/w${at}`, { method: 'DELETE' }));
  const wire = await askForEver('/never', waiting);
  wire.socket.destroy();
  await eventually('the tool knows it', () => done.includes('GET /never is left'), 10_000);
  const ended = () => eventsOf(readRecord(stage.sidecar.eventsFile), '/never').find((e) => e.event === 'call.ended');
  await eventually('the end is recorded', () => ended() !== undefined);
  expect([ended()?.['outcome'], begun()]).toEqual(['aborted', ['GET /never begins']]);
  expect(eventsOf(readRecord(stage.sidecar.eventsFile), '/w0')).toEqual([]);
});

test('one that leaves is noticed though a body waits that nobody reads', { timeout: 15_000 }, async () => {
  const headers = { 'Content-Length': '300000' };
  const wire = await askForEver('/never/body', [
    request(way, to, '/upload', { method: 'POST', headers }),
    Buffer.alloc(300_000, 7),
  ]);
  wire.socket.destroy();
  await eventually('the tool knows it', () => done.includes('GET /never/body is left'), 10_000);
  expect(begun()).toEqual(['GET /never/body begins']);
});

test('also when others came before that body, and one of them is answered', { timeout: 15_000 }, async () => {
  const headers = { 'Content-Length': '300000' };
  const wire = await askForEver('/slow', [
    request(way, to, '/never/second'),
    request(way, to, '/upload', { method: 'POST', headers }),
    Buffer.alloc(300_000, 7),
  ]);
  await eventually('the second is begun', () => begun().at(-1) === 'GET /never/second begins');
  wire.socket.destroy();
  await eventually('the tool knows it', () => done.includes('GET /never/second is left'), 10_000);
});

test('bodies that wait end their connection when they are more than a few', { timeout: 20_000 }, async () => {
  const body = Buffer.alloc(60_000, 7);
  const headers = { 'Content-Length': String(body.length) };
  const wire = await askForEver('/never/bodies', []);
  wire.socket.write(Buffer.concat(Array(100).fill(request(way, to, '/body', { method: 'POST', headers, body }))));
  await wire.untilClosed(10_000);
  await eventually('it is recorded', () => told().length === 1);
  expect(begun()).toEqual(['GET /never/bodies begins']);
});

test('more than can be meant end their connection, and are told once', async () => {
  const before = told().length;
  const many = Array.from({ length: 20_000 }, () => request(way, to, '/many'));
  const wire = await askForEver('/never/many', []);
  wire.socket.write(Buffer.concat(many));
  await wire.untilClosed(10_000);
  await eventually('it is recorded', () => told().length === before + 1);
  expect([told().at(-1)?.['code'], begun()]).toEqual(['overloaded', ['GET /never/many begins']]);
});

test('a sidecar that stops begins nothing of what waits', { timeout: 20_000 }, async () => {
  const own = await openStage({ tools: { plain: { port: tool.port } } });
  const { handle } = await own.task();
  const there = { ...to, outbound: own.sidecar.addresses.outbound, handle };
  const wire = await openWire(way, there);
  const post = request(way, there, '/behind', { method: 'POST', headers: { 'Content-Length': '0' } });
  wire.socket.write(Buffer.concat([request(way, there, '/slow'), post]));
  await eventually('the first is begun', () => begun().length === 1);
  const stopped = own.sidecar.stop();
  await wire.until('answer of /slow');
  await wire.untilClosed();
  await stopped;
  await own.close();
  expect(begun()).toEqual(['GET /slow begins', 'GET /slow is done']);
});
