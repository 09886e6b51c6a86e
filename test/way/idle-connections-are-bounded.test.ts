import { createServer, request, Agent, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

/** As many connections that nobody uses are kept, to all tools together. */
const maxResting = 1024;

let tool: Server;
const open = new Set<Socket>();
let stage: Stage;
const agent = new Agent({ keepAlive: true, maxSockets: 16 });

beforeAll(async () => {
  // It says that its connections may be kept for long.
  tool = createServer((_asked, response) => response.setHeader('Keep-Alive', 'timeout=600').end('well'));
  tool.keepAliveTimeout = 0;
  tool.on('connection', (socket: Socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  await new Promise<void>((done) => tool.listen(0, '127.0.0.1', done));
  const { port } = tool.address() as AddressInfo;
  stage = await openStage({
    tools: { any: { port, host: '*.any.test', token: false }, other: { port, host: '*.other.test', token: false } },
  });
});
afterAll(async () => {
  agent.destroy();
  await stage?.close();
  tool.closeAllConnections();
  tool.close();
});

function call(name: string): Promise<void> {
  const [host, port] = stage.sidecar.addresses.outbound.split(':');
  return new Promise((done, fail) => {
    const options = { host, port, agent, path: `http://${name}/`, headers: { Host: name } };
    const sent = request(options, (answer) => {
      expect(answer.statusCode).toBe(200);
      answer.resume().once('end', done);
    });
    sent.once('error', fail).end();
  });
}

test('an agent that calls a tool by ever new names leaves no connection for each', { timeout: 60_000 }, async () => {
  let calls = 0;
  const next = async (): Promise<void> => {
    for (let at = 0; at < 150; at += 1) {
      calls += 1;
      await call(`h${calls}.${calls % 2 === 0 ? 'any' : 'other'}.test`);
    }
  };
  await Promise.all(Array.from({ length: 16 }, next));
  expect(open.size).toBeGreaterThan(maxResting / 2);
  await eventually('those that rested longest are closed', () => open.size <= maxResting, 2000);
  // The youngest are used again.
  await call('last.any.test');
  const before = new Set(open);
  await call('last.any.test');
  expect([...open].filter((one) => !before.has(one))).toHaveLength(0);
});
