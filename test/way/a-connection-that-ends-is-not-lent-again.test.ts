import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { callThrough, dial, exchangeOn, requestBytes } from '../stage/raw-call.ts';
import { removeFolder, startSidecar, type SidecarProcess } from '../stage/sidecar-process.ts';

let seen = 0;
const tool = createHttpServer((request, response) => {
  seen += 1;
  if (request.url === '/closes') response.setHeader('Connection', 'close');
  response.end('ok');
});
let sidecar: SidecarProcess;

beforeAll(async () => {
  await new Promise<void>((done) => tool.listen(0, '127.0.0.1', done));
  sidecar = await startSidecar(`
tools: { open: { match: { host: open.test }, dial: "127.0.0.1:${(tool.address() as AddressInfo).port}" } }
rules: [ { name: all, effect: allow, when: 'true' } ]
`);
});

afterAll(async () => {
  await sidecar.stop();
  removeFolder(sidecar.dir);
  tool.close();
  tool.closeAllConnections();
});

/** Eight agents at once: whatever is given back is taken at once by somebody else. */
async function callAll(first: string, calls: number): Promise<number[]> {
  const statuses: number[] = [];
  const agent = async (): Promise<void> => {
    const socket = dial(sidecar.addresses.outbound);
    for (let at = 0; at < calls; at += 1) {
      const url = at % 2 === 0 ? first : 'http://open.test/stays';
      const { status } = await exchangeOn(socket, requestBytes('GET', url, { Host: 'open.test' }));
      statuses.push(status);
    }
    socket.destroy();
  };
  await Promise.all(Array.from({ length: 8 }, agent));
  return statuses;
}

test('a call right behind an answer that closes its connection reaches the tool, once', async () => {
  const statuses = await callAll('http://open.test/closes', 100);
  expect(statuses).toHaveLength(800);
  expect(statuses.filter((status) => status !== 200)).toEqual([]);
  expect(seen).toBe(800);
});

test('an idle connection to a tool near by is closed before servers close theirs that do not say when (gunicorn: 2 s)', async () => {
  const silent = createServer((socket) => {
    socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'));
    socket.on('error', () => undefined);
  });
  const connected = once(silent, 'connection');
  await new Promise<void>((done) => silent.listen(0, '127.0.0.1', done));
  const own = await startSidecar(`
tools: { open: { match: { host: open.test }, dial: "127.0.0.1:${(silent.address() as AddressInfo).port}" } }
rules: [ { name: all, effect: allow, when: 'true' } ]
`);
  try {
    expect((await callThrough(own.addresses.outbound, 'http://open.test/')).status).toBe(200);
    const answeredAt = performance.now();
    const [socket] = (await connected) as [Socket];
    await once(socket, 'end');
    const idleMs = performance.now() - answeredAt;
    expect(idleMs).toBeGreaterThan(500);
    expect(idleMs).toBeLessThan(1900);
  } finally {
    await own.stop();
    removeFolder(own.dir);
    silent.close();
  }
});
