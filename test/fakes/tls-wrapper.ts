import { createServer, type AddressInfo, type Socket } from 'node:net';
import { connect } from 'node:tls';

/** What speaks plain TCP on one side and TLS, with a client certificate, on the other: it changes no byte. */
export interface TlsWrapper {
  readonly address: string;
  close(): Promise<void>;
}

/** Opens one on loopback. @param to `host:port` of the TLS server. */
export async function openTlsWrapper(to: string, client: { cert: string; key: string }): Promise<TlsWrapper> {
  const [host = '', port] = to.split(':');
  const sockets = new Set<Socket>();
  // Half-open, so that an end on one side is an end on the other and not a cut.
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (plain) => {
    const secure = connect({ host, port: Number(port), rejectUnauthorized: false, ...client });
    for (const [one, other] of [
      [plain, secure],
      [secure, plain],
    ] as const) {
      sockets.add(one);
      one
        .on('error', () => other.destroy())
        .once('close', () => {
          sockets.delete(one);
          other.destroySoon();
        });
    }
    plain.pipe(secure).pipe(plain);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
