import { X509Certificate } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { request, type Agent } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, expect, test, vi } from 'vitest';
import { openAuthority, type Authority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApiServer } from '../../proxy/embedded/workload-api.ts';
import {
  connectMtls,
  connectWorkloadApi,
  createMtlsAgent,
  createMtlsServer,
  peerIdOf,
  RevocationList,
  type MtlsSource,
  type X509Bundle,
} from '../../proxy/spiffe/client.ts';
import { parseX509Context } from '../../proxy/spiffe/x509-svid.ts';
import { mintAuthority, mintLeaf, type Minted } from '../fakes/certificate-mint.ts';
import { mintList } from '../fakes/revocation-mint.ts';
import { runSpiffePage } from '../stage/spiffe-page.ts';

const folder = await mkdtemp(join(tmpdir(), 'waybill-client-'));
const root = await mintAuthority(undefined);
const intermediate = await mintAuthority(root);
const other = await mintAuthority(undefined, { uris: ['spiffe://other.org'] });
const open: { close(): unknown }[] = [];

afterEach(() => {
  for (const one of open.splice(0)) one.close();
});
afterAll(() => rm(folder, { recursive: true }));

/** A source that a test turns. */
interface Source extends MtlsSource {
  own: readonly Minted[] | undefined;
  bundles: ReadonlyMap<string, X509Bundle>;
}

const trusting = (authority = root.der, revocations: readonly RevocationList[] = []): ReadonlyMap<string, X509Bundle> =>
  new Map([
    ['example.org', { authorities: [authority], revocations }],
    ['other.org', { authorities: [other.der], revocations: [] }],
  ]);

function sourceOf(...own: readonly Minted[]): Source {
  let [kept, context]: [readonly Minted[] | undefined, ReturnType<MtlsSource['x509']>] = [undefined, undefined];
  return {
    own,
    bundles: trusting(),
    now: Date.now,
    x509() {
      if (kept !== this.own) context = this.own && contextOf(this.own);
      kept = this.own;
      return context;
    },
    x509Bundles() {
      return this.bundles;
    },
  };
}

function contextOf(chain: readonly Minted[]): ReturnType<MtlsSource['x509']> {
  const name = new X509Certificate(chain[0]!.der).subjectAltName?.replace('URI:', '') ?? '';
  const svid = {
    spiffe_id: name,
    x509_svid: Buffer.concat(chain.map(({ der }) => der)),
    x509_svid_key: chain[0]!.privateKey.export({ type: 'pkcs8', format: 'der' }),
    bundle: root.der,
    hint: '',
  };
  return parseX509Context({ svids: [svid], crl: [], federated_bundles: [] }, undefined);
}

const anybody = (): boolean => true;

async function serve(source: MtlsSource, authorize: Parameters<typeof createMtlsServer>[1] = anybody) {
  const seen: string[] = [];
  const server = createMtlsServer(source, authorize, (message, response) => {
    seen.push(String(peerIdOf(message)));
    response.end('hello');
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  open.push({ close: () => (server.closeAllConnections(), server.close()) });
  server.on('clientError', ({ code }: NodeJS.ErrnoException) => code?.startsWith('HPE_') && seen.push(code));
  return { port: (server.address() as AddressInfo).port, seen };
}

function call(port: number, agent: Agent): Promise<string> {
  return new Promise((resolve) => {
    const asked = request({ host: '127.0.0.1', port, agent }, (response: IncomingMessage) => {
      response.on('data', (text: Buffer) => resolve(text.toString()));
      response.on('error', (error) => resolve(error.name));
    });
    asked.on('error', (error) => resolve(error.name === 'Error' ? 'cut' : error.name));
    asked.end();
  });
}

const leafOf = (name: string, authority: Minted = root) => mintLeaf(authority, { uris: [`spiffe://${name}`] });

test('both sides show their SVID, and each lets in whom it knows', async () => {
  const [tool, agent] = [sourceOf(await leafOf('example.org/tool')), sourceOf(await leafOf('example.org/agent'))];
  const { port, seen } = await serve(tool, (peer) => peer.path === '/agent');
  expect(
    await call(
      port,
      createMtlsAgent(agent, (peer) => peer.path === '/tool'),
    ),
  ).toBe('hello');
  expect(seen).toEqual(['spiffe://example.org/agent']);
  expect(
    await call(
      port,
      createMtlsAgent(agent, (peer) => peer.path === '/too'),
    ),
  ).toBe('PeerNotAuthorized');
  const thief = sourceOf(await leafOf('example.org/thief'));
  expect(await call(port, createMtlsAgent(thief, anybody))).toBe('cut');
  // Not even what it says is read: the server of HTTP would complain of this.
  const garbage = connectMtls(thief, anybody, { host: '127.0.0.1', port });
  const closed = new Promise<void>((resolve) => garbage.on('close', () => resolve()).on('error', () => undefined));
  garbage.end('garbage\r\n\r\n');
  await closed;
  const nobody = sourceOf();
  nobody.own = undefined;
  expect(await call(port, createMtlsAgent(nobody, anybody))).toBe('NoSvid');
  expect(seen).toHaveLength(1);
});

test('an authority of one domain does not speak for another, though both are trusted', async () => {
  const tool = sourceOf(await leafOf('example.org/tool'));
  const { port, seen } = await serve(tool);
  const forged = sourceOf(await leafOf('example.org/agent', other));
  expect(await call(port, createMtlsAgent(forged, anybody))).toBe('cut');
  const honest = sourceOf(await leafOf('other.org/agent', other));
  expect(await call(port, createMtlsAgent(honest, anybody))).toBe('hello');
  const { port: forgedPort } = await serve(forged);
  expect(await call(forgedPort, createMtlsAgent(tool, anybody))).toBe('InvalidSvidPath');
  expect(seen).toEqual(['spiffe://other.org/agent']);
});

test('the longest path that is believed makes a connection too, in both directions', async () => {
  const second = await mintAuthority(intermediate);
  const third = await mintAuthority(second);
  const above = [third, second, intermediate];
  const [tool, agent] = [
    sourceOf(await leafOf('example.org/tool', third), ...above),
    sourceOf(await leafOf('example.org/agent', third), ...above),
  ];
  const { port, seen } = await serve(tool);
  expect(await call(port, createMtlsAgent(agent, anybody))).toBe('hello');
  expect(seen).toEqual(['spiffe://example.org/agent']);
});

test('new connections have the new SVID, path through an intermediate and all, without a restart', async () => {
  const tool = sourceOf(await leafOf('example.org/tool'));
  const agent = sourceOf(await leafOf('example.org/agent', intermediate), intermediate);
  const { port, seen } = await serve(tool);
  let shown = '';
  const looking = createMtlsAgent(agent, (peer) => (shown = peer.path) !== '');
  expect(await call(port, looking)).toBe('hello');
  tool.own = [await leafOf('example.org/tool2', intermediate), intermediate];
  expect(await call(port, looking)).toBe('hello');
  expect(shown).toBe('/tool2');
  agent.own = [await leafOf('example.org/agent2')];
  expect(await call(port, looking)).toBe('hello');
  expect(seen.at(-1)).toBe('spiffe://example.org/agent2');
  tool.own = undefined;
  expect(await call(port, looking)).toBe('cut');
  tool.own = [await leafOf('example.org/tool')];
  expect(await call(port, looking)).toBe('hello');
});

test('a peer on an open connection falls with its authority or its certificate', async () => {
  const own = await leafOf('example.org/agent');
  const [tool, agent] = [sourceOf(await leafOf('example.org/tool')), sourceOf(own)];
  const { port, seen } = await serve(tool);
  const socket = connectMtls(agent, anybody, { host: '127.0.0.1', port });
  const ended = new Promise<string>((resolve) => {
    socket.on('close', () => resolve('closed'));
    socket.on('error', () => undefined);
  });
  const ask = (): Promise<string> => {
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    return Promise.race([ended, new Promise<string>((resolve) => socket.once('data', () => resolve('answered')))]);
  };
  expect(await ask()).toBe('answered');
  tool.bundles = trusting(root.der, [await mintList(root, [])]);
  expect(await ask()).toBe('answered');
  tool.bundles = trusting(root.der, [await mintList(root, [own])]);
  expect(await ask()).toBe('closed');
  expect(seen).toHaveLength(2);
  expect(await call(port, createMtlsAgent(agent, anybody))).toBe('cut');
});

async function openApi(authority: Authority, name: string) {
  const socketPath = join(folder, `${name}.sock`);
  const api = await openWorkloadApiServer({
    socketPath,
    authority,
    spiffeId: `spiffe://${authority.trustDomain}/${name}`,
    x509TtlSeconds: 60,
    jwtTtlSeconds: 60,
  });
  open.push(api);
  return { api, address: `unix://${socketPath}` };
}

test('connecting waits for the first SVID, and says why there is none', async () => {
  const { api, address } = await openApi(await openAuthority('example.org'), 'agent');
  const client = await connectWorkloadApi({ address });
  expect(client.identity()?.toString()).toBe('spiffe://example.org/agent');
  client.close();
  await api.removeEntries();
  await expect(connectWorkloadApi({ address, timeoutMs: 300 })).rejects.toMatchObject({ reason: 'denied' });
  await expect(connectWorkloadApi({ address: 'unix://relative' })).rejects.toThrow('absolute path');
  await expect(connectWorkloadApi({ address: `unix://${folder}/none`, timeoutMs: 300 })).rejects.toMatchObject({
    reason: 'unavailable',
  });
});

test('without an address, and without SPIFFE_ENDPOINT_SOCKET, it says that nobody named one', async () => {
  for (const value of [undefined, '']) {
    vi.stubEnv('SPIFFE_ENDPOINT_SOCKET', value);
    await expect(connectWorkloadApi().finally(() => vi.unstubAllEnvs())).rejects.toThrow(
      'SPIFFE_ENDPOINT_SOCKET is not set',
    );
  }
});

test('the lines of README.md do what they say', async () => {
  const { address } = await openApi(await openAuthority('example.org'), 'reader');
  const { said, code } = await runSpiffePage(address);
  expect(said.split('\n')).toEqual([
    'I am spiffe://example.org/reader',
    'a JWT-SVID of spiffe://example.org/reader, until TIME',
    'hello spiffe://example.org/reader',
    '',
  ]);
  expect(code).toBe(0);
});
