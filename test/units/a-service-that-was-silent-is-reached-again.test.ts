import { createServer, type Server } from 'node:http';
import { createServer as createTcp, Socket, type AddressInfo, type Server as TcpServer } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { EndpointFault } from '../../proxy/exchange/endpoint.ts';
import { type Endpoints, openEndpoints } from '../../proxy/exchange/endpoints.ts';
import { realWorld } from '../../proxy/world.ts';
import { eventually } from '../fakes/eventually.ts';

const real = realWorld([]);
let well: Server;
/** Takes connections and says nothing: a handshake with it has no end. */
let silent: TcpServer;
const taken: Socket[] = [];
let endpoints: Endpoints;
let dial: (port: number) => Socket;

beforeEach(async () => {
  well = createServer((_request, response) => response.end('{}'));
  silent = createTcp((socket) => void taken.push(socket.on('error', () => undefined).resume()));
  for (const server of [well, silent])
    await new Promise<void>((done) => void server.listen(0, '127.0.0.1', () => done()));
  const find = ({ port }: { readonly port: number }) => ({ address: '127.0.0.1', port, kind: 'loopback' }) as const;
  endpoints = openEndpoints({ find }, { ...real, dial: (_address, port) => dial(port) }, new Map(), () => undefined);
});
afterEach(async () => {
  await endpoints.close();
  for (const socket of taken.splice(0)) socket.destroy();
  well.close();
  silent.close();
});

async function ask(url: string): Promise<unknown> {
  const init = { method: 'POST', headers: {}, body: 'x', timeoutMs: 200, maxBytes: 100 } as const;
  try {
    return (await endpoints.call(new URL(url), init)).status;
  } catch (error) {
    return error instanceof EndpointFault ? error.reason : error;
  }
}

const portOf = (server: Server | TcpServer): number => (server.address() as AddressInfo).port;

test('a connection that nobody answered does not stand in the way of the next', async () => {
  const dialled: Socket[] = [];
  dial = () => {
    dialled.push(new Socket());
    return dialled.at(-1) ?? new Socket();
  };
  const url = `http://127.0.0.1:${portOf(well)}/`;
  expect(await Promise.all([ask(url), ask(url)])).toEqual(['timeout', 'timeout']);
  dial = (port) => real.dial('127.0.0.1', port);
  await eventually('an answer', async () => (await ask(url)) === 200, 4000);
  expect(dialled.map(({ destroyed }) => destroyed)).toEqual([true, true]);
});

test('nor does a TLS handshake that has no end', async () => {
  dial = (port) => real.dial('127.0.0.1', port);
  const url = `https://127.0.0.1:${portOf(silent)}/`;
  expect(await ask(url)).toBe('timeout');
  await eventually('it is given up', () => taken[0]?.readableEnded === true, 4000);
});
