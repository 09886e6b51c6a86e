import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { isFromHere, uidOf } from '../../proxy/tasks/peer.ts';
import { holdersOf } from '../../proxy/tasks/socket-holders.ts';

const own = process.getuid?.() ?? 0;

/** Our end of a connection over these addresses. */
async function connected(listen: string, to: string): Promise<{ end: Socket; close: () => void }> {
  const server = createServer({ allowHalfOpen: true });
  server.listen(0, listen);
  await once(server, 'listening');
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const peer = connect({ port: (server.address() as AddressInfo).port, host: to, allowHalfOpen: true });
  peer.on('error', () => undefined);
  const [end] = await accepted;
  end.on('error', () => undefined);
  await new Promise((done) => setTimeout(done, 20));
  return {
    end,
    close: () => {
      for (const socket of [peer, end]) socket.destroy();
      server.close();
    },
  };
}

test.runIf(process.platform === 'linux').for([
  ['127.0.0.1', '127.0.0.1'],
  ['::1', '::1'],
  ['::', '127.0.0.1'],
  ['::', '::1'],
  ['::', '::ffff:127.0.0.1'],
  ['127.0.0.1', '::ffff:127.0.0.1'],
] as [string, string][])('listening at %s, called at %s', async ([listen, to]) => {
  const { end, close } = await connected(listen, to);
  try {
    expect([isFromHere(end), uidOf(end)]).toEqual([true, own]);
    expect(holdersOf(end)?.map(({ pid }) => pid)).toEqual([process.pid]);
  } finally {
    close();
  }
});

test('a connection that cannot be found is nobody’s, and so is one of elsewhere', () => {
  const end = { remoteAddress: '127.0.0.1', remotePort: 1, localAddress: '127.0.0.1', localPort: 2 } as Socket;
  expect([uidOf(end), holdersOf(end)]).toEqual([undefined, undefined]);
  for (const address of ['10.0.0.1', '::ffff:10.0.0.1', 'fe80::1', '', '128.127.0.0', '127.0.0.1.example.org'])
    expect([address, isFromHere({ remoteAddress: address } as Socket)]).toEqual([address, false]);
});
