import { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { exchangeOn } from './raw-call.ts';
import { connectTls } from './tls-caller.ts';

/** The certificate of a caller, PEM, and the authorities of its trust domain. */
export interface CallerSvid {
  readonly cert: string;
  readonly key: string;
  readonly bundle: string;
}

/** A running load of mTLS callers at a way in. */
export interface WayInLoad {
  readonly passed: () => number;
  /** What went wrong, a line each. */
  readonly failures: readonly string[];
  /** Serial numbers of the certificates that the way in showed. */
  readonly served: ReadonlySet<string>;
  /** Resolves when the requests under way have ended. */
  stop(): Promise<void>;
}

export interface WayInLoadOptions {
  readonly address: () => string;
  readonly host: string;
  /** SPIFFE ID that the way in must show. */
  readonly serverId: string;
  /** The caller's SVID of this moment. */
  readonly svid: () => CallerSvid;
  readonly workers: number;
  /** Requests on a connection before a new one is made with the SVID of then. */
  readonly perConnection: number;
  /** Pause after each request, milliseconds. */
  readonly pauseMs: number;
}

/** Keeps callers at work, each on connections that it keeps for a few requests, until it is stopped. */
export function startWayInLoad(options: WayInLoadOptions): WayInLoad {
  const request = Buffer.from(`GET /orders HTTP/1.1\r\nHost: ${options.host}\r\n\r\n`);
  const failures: string[] = [];
  const served = new Set<string>();
  const stop = new AbortController();
  let passed = 0;
  const connectOnce = async (): Promise<void> => {
    const svid = options.svid();
    const socket = await connectTls(options.address(), svid);
    try {
      served.add(checkServer(socket, options.serverId, svid.bundle));
      for (let count = 0; count < options.perConnection && !stop.signal.aborted; count += 1) {
        const { status, code } = await exchangeOn(socket, request);
        if (status === 200) passed += 1;
        else failures.push(`${status} ${code ?? ''}`);
        await new Promise((done) => setTimeout(done, options.pauseMs));
      }
    } finally {
      socket.destroy();
    }
  };
  const work = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      await connectOnce().catch((error: unknown) => failures.push(String(error)));
    }
  };
  const finished = Promise.all(Array.from({ length: options.workers }, work));
  return {
    passed: () => passed,
    failures,
    served,
    async stop() {
      stop.abort();
      await finished;
    },
  };
}

/** What a SPIFFE client checks of a server: the ID, the time, and that an authority of the bundle signed it. Its serial number. */
function checkServer(socket: TLSSocket, serverId: string, bundle: string): string {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) throw new Error('the way in shows no certificate');
  if (!isSignedBy(certificate, bundle)) throw new Error('the certificate of the way in is not of the trust domain');
  if (certificate.subjectAltName !== `URI:${serverId}`) throw new Error(`the way in is ${certificate.subjectAltName}`);
  if (certificate.validToDate.getTime() < Date.now()) throw new Error('the certificate of the way in has expired');
  return certificate.serialNumber;
}

/** Whether an authority of a bundle (PEM) signed this certificate. */
export function isSignedBy(certificate: X509Certificate, bundle: string): boolean {
  const roots = bundle.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return roots.some((root) => certificate.verify(new X509Certificate(root).publicKey));
}
