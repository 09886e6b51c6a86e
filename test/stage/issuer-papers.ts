import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { createServer as createTcp, type AddressInfo, type Socket } from 'node:net';

/** What is wrong with the documents of an issuer. */
export interface PaperFault {
  readonly metadata?: Record<string, unknown>;
  readonly keys?: readonly object[];
  /** How far its clock is ahead, seconds. */
  readonly ahead?: number;
}

/** Issuers on one loopback server, each under a path of its own: metadata and keys, and faults as they are written down. */
export interface Papers {
  /** The issuer of this name. */
  issuer(name: string): string;
  /** Requests that were no question for a document. */
  readonly others: string[];
  close(): Promise<void>;
}

export async function openPapers(faults: Readonly<Record<string, PaperFault>>): Promise<Papers> {
  const others: string[] = [];
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = { ...publicKey.export({ format: 'jwk' }), kid: 'k', use: 'sig' };
  let origin = '';
  const server = createServer((request, response) => {
    const path = request.url ?? '';
    const name =
      /^\/\.well-known\/oauth-authorization-server\/(\w+)$/.exec(path)?.[1] ?? /^\/(\w+)\/jwks$/.exec(path)?.[1];
    const fault = faults[name ?? ''];
    if (name === undefined || fault === undefined) {
      if (!path.includes('/.well-known/')) others.push(path);
      response.writeHead(404).end();
      return;
    }
    const at = `${origin}/${name}`;
    const metadata = {
      issuer: at,
      token_endpoint: `${at}/token`,
      revocation_endpoint: `${at}/revoke`,
      jwks_uri: `${at}/jwks`,
      ...fault.metadata,
    };
    const date = new Date(Date.now() + (fault.ahead ?? 0) * 1000).toUTCString();
    response.writeHead(200, { 'Content-Type': 'application/json', Date: date });
    response.end(JSON.stringify(path.endsWith('/jwks') ? { keys: fault.keys ?? [key] } : metadata));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    issuer: (name) => `${origin}/${name}`,
    others,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}

/** Takes connections on loopback and never says a word. */
export async function openSilence(): Promise<{ readonly port: number; close(): Promise<void> }> {
  const open = new Set<Socket>();
  const server = createTcp((socket) => {
    open.add(socket);
    socket.on('error', () => undefined).resume();
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((done) => {
        for (const socket of open) socket.destroy();
        server.close(() => done());
      }),
  };
}
