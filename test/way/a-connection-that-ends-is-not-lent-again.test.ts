import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { dial, exchangeOn, requestBytes } from '../stage/raw-call.ts';
import { removeFolder, startSidecar, type SidecarProcess } from '../stage/sidecar-process.ts';

let seen = 0;
const tool = createServer((request, response) => {
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
