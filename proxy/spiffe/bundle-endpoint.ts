import { once } from 'node:events';
import { request } from 'node:http';
import { isIP, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import { checkAuthorities } from './authorities-file.ts';
import type { SpiffeId } from './spiffe-id.ts';
import { checkServerBy, pemOf } from './svid-tls.ts';
import type { X509BundleOf } from './x509-path.ts';

/** Port: opens a TCP connection, to wherever its owner allows. */
export interface DialTcp {
  dial(host: string, port: number): Promise<Socket>;
}

/** How an endpoint shows who it is (SPIFFE Federation, section 5). */
export type EndpointProfile =
  | {
      readonly kind: 'https_web';
      /** PEM; the roots of the system where undefined, and nobody is believed where it holds no certificate. */
      readonly ca: string | undefined;
    }
  | {
      readonly kind: 'https_spiffe';
      readonly spiffeId: SpiffeId;
      readonly bundleOf: X509BundleOf;
      readonly now: () => number;
    };

/** Why there is no document. */
export type EndpointFault = 'unreachable' | 'tls' | 'timeout' | 'status' | 'oversize';

/** A bundle endpoint gave nothing. Holds nothing that it said. */
export class EndpointUnavailable extends Error {
  override readonly name = 'EndpointUnavailable';
  readonly fault: EndpointFault;

  constructor(fault: EndpointFault) {
    super(`bundle endpoint: ${fault}`);
    this.fault = fault;
  }
}

const maxBytes = 1024 * 1024;
/** For everything together: connecting, TLS, waiting, and a body that trickles. */
const timeoutMs = 10_000;

/**
 * Gets the document of a bundle endpoint by https, without any credential of ours. Redirects are not followed: whoever moves an endpoint
 * tells those who configured it. Rejects with EndpointUnavailable.
 */
export async function fetchBundle(url: URL, profile: EndpointProfile, tcp: DialTcp): Promise<Buffer> {
  if (url.protocol !== 'https:' || url.username !== '' || url.password !== '') throw new EndpointUnavailable('tls');
  if (profile.kind === 'https_web' && profile.ca !== undefined) requireAuthorities(profile.ca);
  const life: Life = { isOver: false, open: [] };
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new EndpointUnavailable('timeout')), timeoutMs);
  });
  try {
    return await Promise.race([get(url, profile, tcp, life), late]);
  } finally {
    clearTimeout(timer);
    life.isOver = true;
    for (const one of life.open) one.destroy();
  }
}

/** An empty text would be none to Node, and the whole Web PKI could say who belongs to the other domain. */
function requireAuthorities(pem: string): void {
  try {
    checkAuthorities(pem);
  } catch {
    throw new EndpointUnavailable('tls');
  }
}

/** What one request has opened. */
interface Life {
  isOver: boolean;
  readonly open: { destroy(): void }[];
}

async function get(url: URL, profile: EndpointProfile, tcp: DialTcp, life: Life): Promise<Buffer> {
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  let socket: Socket;
  try {
    socket = await tcp.dial(host, url.port === '' ? 443 : Number(url.port));
  } catch {
    throw new EndpointUnavailable('unreachable');
  }
  life.open.push(socket);
  // Asking DNS took longer than the whole request may: nobody waits any more, and nobody would close it.
  if (life.isOver) socket.destroy();
  // TLS over a socket that goes on to another address of the name ends the process (a fault of Node.js).
  if (socket.connecting) await standing(socket);
  const secure = connectTls({
    socket,
    host,
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ALPNProtocols: ['http/1.1'],
    minVersion: 'TLSv1.2',
    // Said here: left out, NODE_TLS_REJECT_UNAUTHORIZED=0 of the environment has a stranger say who belongs to the other domain.
    rejectUnauthorized: true,
    ...trustOf(profile),
  });
  life.open.push(secure);
  await new Promise<void>((resolve, reject) => {
    socket.on('error', () => reject(new EndpointUnavailable('unreachable')));
    // Both ends of trouble: TCP that never stood, and a certificate that is not believed.
    secure.on('error', () =>
      reject(new EndpointUnavailable(socket.connecting || socket.errored !== null ? 'unreachable' : 'tls')),
    );
    secure.once('secureConnect', resolve);
  });
  return new Promise<Buffer>((resolve, reject) => {
    const gone = (): void => reject(new EndpointUnavailable('unreachable'));
    const asked = request({
      createConnection: () => secure,
      method: 'GET',
      path: `${url.pathname}${url.search}`,
      headers: { host: url.host, accept: 'application/json', connection: 'close' },
    });
    asked.once('error', gone);
    asked.once('response', (response) => {
      if (response.statusCode !== 200) return reject(new EndpointUnavailable('status'));
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > maxBytes) reject(new EndpointUnavailable('oversize'));
        else chunks.push(chunk);
      });
      response.once('error', gone);
      // Half a document never comes as an end: its reader sees `aborted` first.
      response.once('aborted', gone);
      response.once('end', () => resolve(Buffer.concat(chunks)));
      return undefined;
    });
    asked.end();
  });
}

async function standing(socket: Socket): Promise<void> {
  try {
    await once(socket, 'connect');
  } catch {
    throw new EndpointUnavailable('unreachable');
  }
}

/** Whom the TLS connection is made with. Both verify; the second by SPIFFE ID, since a trust domain is no host name. */
function trustOf(profile: EndpointProfile): ConnectionOptions {
  if (profile.kind === 'https_web') return profile.ca === undefined ? {} : { ca: profile.ca };
  const { spiffeId, bundleOf, now } = profile;
  const bundle = bundleOf(spiffeId.trustDomain);
  return {
    ca: pemOf(bundle === undefined ? [] : [bundle]),
    allowPartialTrustChain: true,
    checkServerIdentity: checkServerBy(bundleOf, (peer) => peer.equals(spiffeId), now),
  };
}
