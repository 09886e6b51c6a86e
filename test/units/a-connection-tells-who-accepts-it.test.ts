import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { acceptorsOf, listenersAt } from '../../proxy/tasks/peer.ts';

/** Code that every read of a file fails with. */
let fault: string | undefined;
vi.mock('node:fs', async (original) => {
  const real = await original<typeof import('node:fs')>();
  const readFileSync = (...args: Parameters<typeof real.readFileSync>): unknown => {
    if (fault !== undefined) throw Object.assign(new Error(fault), { code: fault });
    return real.readFileSync(...args);
  };
  return { ...real, readFileSync };
});

const own = process.getuid?.() ?? 0;
const closing: (() => void)[] = [];
afterEach(() => {
  fault = undefined;
  for (const close of closing.splice(0)) close();
});

/** Our end of a connection that we open over these addresses. */
async function opened(listen: string, to: string, accepts = true): Promise<Socket> {
  const server = createServer((end) => closing.push(() => end.destroy()));
  server.listen(0, listen);
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  const socket = connect((server.address() as AddressInfo).port, to);
  closing.push(
    () => socket.destroy(),
    () => server.close(),
  );
  await (accepts ? Promise.all([once(socket, 'connect'), accepted]) : once(socket, 'connect'));
  return socket;
}

test.runIf(process.platform === 'linux').for([
  ['127.0.0.1', '127.0.0.1'],
  ['0.0.0.0', '127.0.0.7'],
  ['::1', '::1'],
  ['::', '127.0.0.1'],
  ['::', '::1'],
  ['::', '::ffff:127.0.0.1'],
  ['127.0.0.1', '::ffff:127.0.0.1'],
] as [string, string][])('listening at %s, called at %s', async ([listen, to]) => {
  const socket = await opened(listen, to);
  // Who accepted it, and who listens.
  expect(acceptorsOf(socket)).toEqual([own, own]);
  expect(acceptorsOf(await opened(listen, to, false))).toContain(own);
});

test.runIf(process.platform === 'linux')('a connection without another end is accepted by nobody', async () => {
  const end = { remoteAddress: '127.0.0.1', remotePort: 1, localAddress: '127.0.0.1', localPort: 2 } as Socket;
  expect(acceptorsOf(end)).toEqual([]);
  const socket = await opened('127.0.0.1', '127.0.0.1');
  socket.destroy();
  expect(acceptorsOf(socket)).toEqual([]);
});

test.runIf(process.platform === 'linux')(
  'tables that are hidden tell nothing; those that cannot be read now are a fault',
  async () => {
    const socket = await opened('127.0.0.1', '127.0.0.1');
    for (fault of ['ENOENT', 'EACCES'])
      expect([acceptorsOf(socket), listenersAt('::1', 1)]).toEqual([undefined, undefined]);
    for (fault of ['EMFILE', 'ENFILE', 'ENOMEM', 'EIO']) {
      expect(() => acceptorsOf(socket)).toThrow(fault);
      expect(() => listenersAt('127.0.0.1', 1)).toThrow(fault);
    }
  },
);
