import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { isLoopbackAddress } from '../../config/addresses.ts';
import type { SignalsSettings } from '../../config/signals.ts';
import { SignalRejected } from '../trust/security-event.ts';
import { bound, checkHost, listening, oneByOne, type StewardListener } from './operator-listener.ts';
import { OwnCertificate } from './own-certificate.ts';

/** Port: takes one security event token; `later` where it has to come again. Never rejects. */
export interface SignalSink {
  receive(text: string, authorization: string | undefined): Promise<'accepted' | 'later' | SignalRejected>;
}

/** Of a token 16 KiB are read; what is longer than this is not even collected. */
const maxBodyBytes = 65_536;
const maxConnections = 256;
/** How often the files of the certificate are looked at, milliseconds. */
const renewMs = 10_000;
const limits = {
  maxHeaderSize: 16_384,
  headersTimeout: 10_000,
  requestTimeout: 20_000,
  connectionsCheckingInterval: 2000,
} as const;
const tlsLimits = { minVersion: 'TLSv1.2', handshakeTimeout: 10_000 } as const;

/**
 * Opens the listener that events are pushed to (RFC 8935). Throws the system's error where a file or the port cannot be had.
 * @param onStaleCertificate told of files that hold no certificate any more; the one from before goes on.
 */
export async function openSignalListener(
  { listen, tls }: Pick<SignalsSettings, 'listen' | 'tls'>,
  sink: SignalSink,
  onStaleCertificate: (error: unknown) => void,
): Promise<StewardListener> {
  const own = tls === undefined ? undefined : new OwnCertificate(tls);
  const isCalled = nameCheck(own, isLoopbackAddress(listen.address));
  const serve = oneByOne((request, response) => {
    void deliver(request, response, isCalled, sink).catch(() => request.socket.destroy());
  });
  const secure = own === undefined ? undefined : createTlsServer({ ...limits, ...tlsLimits, ...own.pem }, serve);
  const server: Server = secure ?? createServer(limits, serve);
  server.maxConnections = maxConnections;
  await listening(server, () => server.listen(listen.port, listen.address));
  const renewing = setInterval(() => {
    try {
      if (own?.renew() === true) secure?.setSecureContext({ ...tlsLimits, ...own.pem });
    } catch (error) {
      onStaleCertificate(error);
    }
  }, renewMs).unref();
  const listener = bound(server);
  return {
    ...listener,
    close() {
      clearInterval(renewing);
      return listener.close();
    },
  };
}

/**
 * Whether a request was made to us, and not by a page in a browser that was led here: by a name of our certificate, else as the operator's
 * port. Behind a server of yours that has the certificate, any name may stand there (`unsafe_plaintext`).
 */
function nameCheck(own: OwnCertificate | undefined, loopback: boolean): (request: IncomingMessage) => boolean {
  return (request) => {
    const { host = '', origin } = request.headers;
    if (origin !== undefined) return false;
    try {
      if (own !== undefined) return own.isFor(host.replace(/:\d+$/, '').replace(/^\[|\]$/g, ''));
      if (loopback) checkHost(request);
      return true;
    } catch {
      return false;
    }
  };
}

async function deliver(
  request: IncomingMessage,
  response: ServerResponse,
  isCalled: (request: IncomingMessage) => boolean,
  sink: SignalSink,
): Promise<void> {
  const [status, description] = isCalled(request) ? findFault(request) : [403, 'Host does not name this receiver'];
  if (status !== 0) {
    refuse(response, status, 'invalid_request', description);
    return;
  }
  const text = await readText(request);
  if (text === undefined) {
    refuse(response, 413, 'invalid_request', 'the body is too large');
    return;
  }
  const came = await sink.receive(text, request.headers.authorization);
  if (came instanceof SignalRejected) refuse(response, 400, came.err, came.message);
  else if (came === 'accepted') response.writeHead(202, { 'Content-Length': '0', 'Cache-Control': 'no-store' }).end();
  else response.writeHead(503, { 'Content-Length': '0', 'Retry-After': '1' }).end();
}

/** What is wrong with a request that is no delivery at all: status and description, or 0. */
function findFault({ method, url = '', headers }: IncomingMessage): readonly [number, string] {
  if (url.split('?')[0] !== '/signals') return [404, 'events are delivered to /signals'];
  if (method !== 'POST') return [405, 'events are delivered by POST'];
  const [type = ''] = (headers['content-type'] ?? '').split(';');
  if (type.trim().toLowerCase() !== 'application/secevent+jwt') return [415, 'events are application/secevent+jwt'];
  if ((headers['content-encoding'] ?? 'identity') !== 'identity') return [415, 'events are not encoded'];
  return Number(headers['content-length'] ?? 0) > maxBodyBytes ? [413, 'the body is too large'] : [0, ''];
}

/** The body as it came; undefined for one that is too long, of which no more is read. */
async function readText(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBodyBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('latin1');
}

/** As RFC 8935 2.4 says. */
function refuse(response: ServerResponse, status: number, err: string, description: string): void {
  const body = JSON.stringify({ err, description });
  response.writeHead(status, {
    'Content-Type': 'application/json',
    'Content-Language': 'en',
    'Cache-Control': 'no-store',
    'Content-Length': String(Buffer.byteLength(body)),
    // The rest of a body that was not read must not become the next request.
    Connection: 'close',
    ...(status === 405 ? { Allow: 'POST' } : {}),
  });
  response.end(body);
}
