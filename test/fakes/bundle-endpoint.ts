import { X509Certificate, type KeyObject } from 'node:crypto';
import { createServer, type Server } from 'node:https';
import { connect, type AddressInfo } from 'node:net';
import type { DialTcp } from '../../proxy/spiffe/bundle-endpoint.ts';

/** What the endpoint answers; `hang` sends the head and half of the body, and nothing more. */
export interface EndpointAnswer {
  status?: number;
  headers?: Record<string, string>;
  body: string;
  hang?: true;
  /** Cuts the connection after half of the body. */
  cut?: true;
}

/** An https server that says what a test wrote down. */
export interface BundleEndpointServer {
  readonly port: number;
  answer: EndpointAnswer;
  /** Headers of every request. */
  readonly seen: NodeJS.Dict<string | string[]>[];
  /** Shows another certificate to new connections. */
  show(chain: readonly Buffer[], key: KeyObject): void;
  close(): void;
}

/** `DER, leaf first` as PEM. */
export function pem(...chain: readonly Buffer[]): string {
  return chain.map((der) => new X509Certificate(der).toString()).join('');
}

export async function openBundleEndpoint(chain: readonly Buffer[], key: KeyObject): Promise<BundleEndpointServer> {
  const seen: BundleEndpointServer['seen'] = [];
  const contextOf = (certificates: readonly Buffer[], own: KeyObject) => ({
    cert: pem(...certificates),
    key: own.export({ type: 'pkcs8', format: 'pem' }),
  });
  const server: Server = createServer(contextOf(chain, key), (request, response) => {
    seen.push({ ...request.headers, url: request.url });
    const { status = 200, headers = {}, body, hang, cut } = fake.answer;
    response.writeHead(status, { 'content-length': String(Buffer.byteLength(body)), ...headers });
    if (hang === undefined && cut === undefined) response.end(body);
    else response.write(body.slice(0, body.length / 2), () => cut && request.socket.destroy());
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  const fake: BundleEndpointServer = {
    port,
    answer: { body: '{"keys":[]}' },
    seen,
    show: (certificates, own) => server.setSecureContext(contextOf(certificates, own)),
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
  return fake;
}

/** Every name leads to the port of this machine. */
export function dialHere(dialled: string[] = []): DialTcp {
  return {
    dial: (host, port) => {
      dialled.push(`${host}:${port}`);
      return Promise.resolve(connect(port, '127.0.0.1'));
    },
  };
}
