import { createServer as createHttp, type Server as HttpServer } from 'node:http';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openDnsServer, type DnsServer } from '../fakes/dns-server.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { listenOnFreePort } from '../stage/free-port.ts';
import { callThrough } from '../stage/raw-call.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let dns: DnsServer;
let tool: EchoTool;
/** A tool of the same port at another address, which the agent may choose. */
let other: Server;
let arrivedAtOther = 0;
/** A tool that keeps its connections. */
let keeping: HttpServer;
let arrivedAtKeeping = 0;
let stage: Stage;
let task: StagedTask;

beforeAll(async () => {
  dns = await openDnsServer();
  tool = await openEchoTool();
  other = createServer((socket) => {
    arrivedAtOther += 1;
    socket.destroy();
  });
  await new Promise<void>((done) => other.listen(0, '127.0.0.1', done));
  keeping = createHttp((_asked, response) => response.setHeader('Keep-Alive', 'timeout=600').end('well'));
  keeping.keepAliveTimeout = 0;
  keeping.on('connection', () => (arrivedAtKeeping += 1));
  const keepingPort = await listenOnFreePort(keeping);
  const at = (host: string, port?: number) => ({
    port: 1,
    more: { match: { host, ...(port === undefined ? {} : { port }) }, dial: undefined, addresses: ['loopback'] },
  });
  stage = await openStage({
    tools: {
      several: at('several.test', tool.port),
      turned: at('turned.test', keepingPort),
      moved: at('moved.test', keepingPort),
      anywhere: at('anywhere.test'),
    },
    sections: { dns: { servers: [dns.address] } },
  });
  task = await stage.task();
});
afterAll(async () => {
  await stage?.close();
  keeping.closeAllConnections();
  keeping.close();
  await new Promise((done) => other.close(done));
  await Promise.all([tool.close(), dns.close()]);
});

async function call(host: string, port: number): Promise<number> {
  const url = `http://${host}:${port}/x`;
  return (await callThrough(stage.sidecar.addresses.outbound, url, { handle: task.handle })).status;
}

test('where nobody listens at the first address of a name, the next one is dialled, and the credential goes there', async () => {
  dns.names['several.test'] = ['127.0.0.3', '127.0.0.4', '127.0.0.1'];
  expect([await call('several.test', tool.port), await call('several.test', tool.port)]).toEqual([200, 200]);
  // The connection is kept like any other.
  expect([tool.connections(), tool.seen.length]).toEqual([1, 2]);
});

test('a connection is used again as long as its address is one of the name, and no longer', async () => {
  dns.names['turned.test'] = ['127.0.0.3', '127.0.0.1'];
  dns.names['moved.test'] = ['127.0.0.3', '127.0.0.1'];
  const { port } = keeping.address() as AddressInfo;
  expect([await call('turned.test', port), await call('moved.test', port), arrivedAtKeeping]).toEqual([200, 200, 2]);
  dns.names['turned.test'] = ['127.0.0.1', '127.0.0.3'];
  dns.names['moved.test'] = ['127.0.0.3', '127.0.0.4'];
  // So long an answer of DNS is believed.
  await sleep(5100);
  expect([await call('turned.test', port), await call('moved.test', port), arrivedAtKeeping]).toEqual([200, 502, 2]);
}, 20_000);

test('not where the agent says at which port the tool is: who listens is looked at for one address', async () => {
  dns.names['anywhere.test'] = ['127.0.0.3', '127.0.0.1'];
  const { port } = other.address() as AddressInfo;
  expect([await call('anywhere.test', port), arrivedAtOther]).toEqual([502, 0]);
});
