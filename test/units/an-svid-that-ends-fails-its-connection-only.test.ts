import { once } from 'node:events';
import { connect, type AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { createMtlsServer } from '../../proxy/spiffe/client.ts';
import { parseX509Context } from '../../proxy/spiffe/x509-svid.ts';

test('an SVID that ends while a connection comes in is no exception that nobody catches', async () => {
  const authority = await openAuthority('example.org');
  const spiffeId = 'spiffe://example.org/tool';
  const { chainDer, keyDer } = await authority.issueX509(spiffeId, 60);
  const bundle = authority.bundle().x509Der;
  const svid = { spiffe_id: spiffeId, x509_svid: chainDer, x509_svid_key: keyDer, bundle, hint: '' };
  const context = parseX509Context({ svids: [svid], crl: [], federated_bundles: [] }, undefined);
  const answers = [context];
  const source = { x509: () => answers.shift(), x509Bundles: () => new Map(), now: Date.now };
  const server = createMtlsServer(
    source,
    () => true,
    () => undefined,
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  for (let round = 0; round < 2; round += 1) {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    const end = once(socket, 'close');
    // No handshake: the server says so, and closes.
    socket.on('error', () => undefined).write('GET / HTTP/1.1\r\n\r\n');
    await end;
  }
  expect(answers).toEqual([]);
  server.close();
});
