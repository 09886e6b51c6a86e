import { createServer, type Server, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { eventsOf, readRecord } from '../stage/event-record.ts';
import { listenOnFreePort } from '../stage/free-port.ts';
import { basic, dial } from '../stage/raw-call.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

/** A tool that answers when the test says so, also before it has the whole request. */
let server: Server;
const calls: Socket[] = [];
let stage: Stage;
let handle: string;

beforeAll(async () => {
  server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => void calls.push(socket.resume()));
  });
  stage = await openStage({ tools: { crm: { port: await listenOnFreePort(server) } } });
  ({ handle } = await stage.task());
});
afterAll(async () => {
  await stage?.close();
  for (const socket of calls) socket.destroy();
  server.close();
});

/** A call under way. */
interface Upload {
  readonly agent: Socket;
  readonly tool: Socket;
  received(): string;
  isClosed(): boolean;
}

/** Begins an upload in chunks; resolves when the tool has the beginning. */
async function begin(path: string): Promise<Upload> {
  const agent = dial(stage.sidecar.addresses.outbound);
  let received = '';
  let isClosed = false;
  agent.on('data', (bytes: Buffer) => (received += bytes.toString('latin1'))).on('close', () => (isClosed = true));
  const before = calls.length;
  const head = ['Host: crm.test', `Proxy-Authorization: ${basic(handle)}`, 'Transfer-Encoding: chunked'];
  agent.write(`POST http://crm.test${path} HTTP/1.1\r\n${head.join('\r\n')}\r\n\r\n5\r\nhello\r\n`);
  await eventually('the tool is called', () => calls.length === before + 1);
  return { agent, tool: calls.at(-1)!, received: () => received, isClosed: () => isClosed };
}

const leak = (): string => `${handle.length.toString(16)}\r\n${handle}\r\n0\r\n\r\n`;

/** How a call stands in the record when it is over. */
async function recorded(path: string): Promise<readonly unknown[]> {
  const events = () =>
    eventsOf(readRecord(stage.sidecar.eventsFile), path).filter(({ event }) => event !== 'call.admitted');
  await eventually('the end is recorded', () => events().some(({ event }) => event === 'call.ended'));
  return events().map((e) => [e.event, e['code'], e['status'], e['outcome'], e['bytes_out']]);
}

const refused = ['call.refused', 'credential_leak', 403, undefined, undefined];

test('W7: of an answer that was cut since its request turned out a leak, what had been sent of it', async () => {
  const call = await begin('/cut');
  call.tool.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npartial');
  await eventually('the agent has a part', () => call.received().endsWith('partial'));
  call.agent.write(leak());
  await eventually('the agent is cut off', () => call.isClosed());
  expect(call.received()).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\npartial$/);
  expect(await recorded('/cut')).toEqual([['call.ended', undefined, 200, 'cut', 7], refused]);
});

test('W7: of a leak that was found before the answer, the refusal', async () => {
  const call = await begin('/refused');
  call.agent.write(leak());
  await eventually('the agent has it', () => call.received().includes('credential_leak'));
  expect(call.received()).toMatch(/^HTTP\/1\.1 403 /);
  expect(await recorded('/refused')).toEqual([['call.ended', undefined, 403, 'upstream_error', 0], refused]);
  call.agent.destroy();
});

test.for([
  ['a leak', 'cut', (call: Upload) => call.agent.write(leak())],
  ['the end of the connection', 'upstream_error', (call: Upload) => call.tool.destroy()],
] as const)('W7: a status that is recorded was told, also where nothing followed: %s', async ([what, outcome, end]) => {
  const path = `/${what.replaceAll(' ', '-')}`;
  const call = await begin(path);
  call.tool.write('HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n');
  await new Promise((done) => setTimeout(done, 100));
  end(call);
  await eventually('the agent is cut off', () => call.isClosed());
  expect(call.received()).toMatch(/^HTTP\/1\.1 201 Created\r\n[^]*\r\n\r\n$/);
  const [first] = await recorded(path);
  expect(first).toEqual(['call.ended', undefined, 201, outcome, 0]);
});
