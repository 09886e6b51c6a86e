import { createHash } from 'node:crypto';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { TLSSocket } from 'node:tls';
import { decodeJwt } from 'jose';
import type { ToolCertificate } from './tool-certificate.ts';

/** A call as a tool saw it: `x5t` of its client certificate, and the one that its token is bound to. */
export interface BoundCall {
  readonly presented: string | undefined;
  readonly bound: unknown;
  readonly token: string;
  readonly chain: string | undefined;
}

/** A tool that takes tokens over a connection with the certificate that they are bound to (RFC 8705 3), and refuses all others. */
export interface BoundTool {
  readonly port: number;
  readonly calls: BoundCall[];
  close(): Promise<void>;
}

/** Starts one. @param clientCa PEM of the authority of client certificates. */
export async function openBoundTool({ cert, key }: ToolCertificate, clientCa: string): Promise<BoundTool> {
  const calls: BoundCall[] = [];
  const server = createServer(
    { cert, key, ca: clientCa, requestCert: true, rejectUnauthorized: false },
    (request, response) => {
      const { socket } = request;
      const peer = socket instanceof TLSSocket && socket.authorized ? socket.getPeerX509Certificate() : undefined;
      const presented = peer && createHash('sha256').update(peer.raw).digest('base64url');
      const token = /^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
      const cnf = token === '' ? undefined : (decodeJwt(token)['cnf'] as Record<string, unknown> | undefined);
      const bound = cnf?.['x5t#S256'];
      calls.push({ presented, bound, token, chain: request.headers['waybill-delegation']?.toString() });
      const isGood = presented !== undefined && presented === bound;
      response.writeHead(isGood ? 200 : 401, isGood ? {} : { 'www-authenticate': 'Bearer error="invalid_token"' });
      response.end(presented);
    },
  );
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    port: (server.address() as AddressInfo).port,
    calls,
    async close() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}
