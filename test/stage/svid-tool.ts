import type { AddressInfo } from 'node:net';
import { createServer } from 'node:https';
import { TLSSocket } from 'node:tls';
import type { CallerSvid } from './way-in-load.ts';

/** A tool that shows an X.509-SVID and lets only workloads of its own trust domain in, by the rules of OpenSSL. */
export interface SvidTool {
  readonly port: number;
  /** `SPIFFE ID serial` of the certificates that its callers showed. */
  readonly callers: ReadonlySet<string>;
  /** Handshakes that it refused. */
  readonly refused: () => number;
  /** Serves with this SVID, and believes its bundle, from the next connection on. */
  show(svid: CallerSvid): void;
  close(): void;
}

/** Opens one on loopback. */
export async function openSvidTool(svid: CallerSvid): Promise<SvidTool> {
  const callers = new Set<string>();
  let refused = 0;
  const terms = ({ cert, key, bundle }: CallerSvid) => ({ cert, key, ca: bundle });
  const server = createServer({ ...terms(svid), requestCert: true, rejectUnauthorized: true }, (request, response) => {
    const { socket } = request;
    const peer = socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined;
    callers.add(`${peer?.subjectAltName?.slice('URI:'.length)} ${peer?.serialNumber}`);
    response.end('{}');
  });
  server.on('tlsClientError', () => (refused += 1));
  // An idle connection that it closed just when a call comes would be a failure that has nothing to do with SVIDs.
  server.keepAliveTimeout = 120_000;
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    port: (server.address() as AddressInfo).port,
    callers,
    refused: () => refused,
    show: (next) => server.setSecureContext(terms(next)),
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
