import { once } from 'node:events';
import { networkInterfaces } from 'node:os';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { classifyAddress } from '../../proxy/route/address-class.ts';
import { PortChooser } from '../../proxy/route/port-owners.ts';

const isLinux = process.platform === 'linux';
const outer = Object.values(networkInterfaces())
  .flatMap((list) => list ?? [])
  .map(({ address }) => address)
  .find((address) => classifyAddress(address) === 'private');
const closing: (() => void)[] = [];
afterEach(() => {
  vi.restoreAllMocks();
  for (const close of closing.splice(0)) close();
});

/** Both ends of a connection at an address of this machine. */
async function connected(host: string): Promise<{ near: Socket; far: Socket }> {
  const server = createServer();
  server.listen(0, host);
  await once(server, 'listening');
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const near = connect((server.address() as AddressInfo).port, host);
  const [far] = await accepted;
  closing.push(
    () => near.destroy(),
    () => far.destroy(),
    () => server.close(),
  );
  return { near, far };
}

/** One who calls us as the user of this process, while the sidecar is somebody else. */
async function chooser(): Promise<PortChooser> {
  const { far } = await connected('127.0.0.1');
  vi.spyOn(process, 'getuid').mockReturnValue((process.getuid?.() ?? 0) + 1);
  return new PortChooser(far);
}

test.runIf(isLinux)('a connection to who chose the port is refused, new or kept', async () => {
  const { near } = await connected('127.0.0.1');
  const other = await chooser();
  expect(() => other.inspect(near)).toThrow('address_forbidden');
  const own = vi.mocked(process.getuid!).getMockImplementation()!() - 1;
  expect([[own], [own + 2, own], [own + 2], undefined].map((users) => other.mayUse(users))).toEqual([
    false,
    false,
    true,
    false,
  ]);
});

test.runIf(isLinux)('one to elsewhere is of no user here, whoever calls', async () => {
  const other = await chooser();
  const away = { remoteAddress: '203.0.113.7', remotePort: 80, localAddress: '10.0.0.1', localPort: 5 } as Socket;
  const users = other.inspect(away);
  expect([users, other.mayUse(users)]).toEqual([[], true]);
});

test.runIf(isLinux)('one without another end is refused on loopback, and when it has ended', async () => {
  const other = await chooser();
  const lost = { remoteAddress: '127.0.0.1', remotePort: 1, localAddress: '127.0.0.1', localPort: 2 } as Socket;
  expect(() => other.inspect(lost)).toThrow('upstream_unreachable');
  expect(() => other.inspect({} as Socket)).toThrow('upstream_unreachable');
});

test.runIf(isLinux && outer !== undefined)(
  'one that root leads on from an own address is refused where its caller listens',
  async () => {
    const { near } = await connected(outer ?? '');
    const other = await chooser();
    const led = (port: number | undefined): Socket =>
      ({ remoteAddress: outer, remotePort: port, localAddress: outer, localPort: 1 }) as Socket;
    expect(() => other.inspect(led(near.remotePort))).toThrow('address_forbidden');
    expect(other.mayUse(other.inspect(led(1)))).toBe(true);
  },
);

test('callers of our own user may have what they like', async () => {
  const { near, far } = await connected('127.0.0.1');
  const own = new PortChooser(far);
  expect([own.inspect(near), own.mayUse(undefined), own.mayUse([process.getuid?.() ?? 0])]).toEqual([
    undefined,
    true,
    true,
  ]);
});
