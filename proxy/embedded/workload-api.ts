import { Server, ServerCredentials } from '@grpc/grpc-js';
import { chmod, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { workloadApiService } from '../spiffe/service-definition.ts';
import type { Authority, AuthorityBundle } from './authority.ts';
import type { PublicJwk } from './jwt-keys.ts';
import { WorkloadEntries, type WorkloadEntry } from './workload-entries.ts';
import { workloadMethods } from './workload-methods.ts';

export interface WorkloadApiServerOptions {
  /** Absolute path. Whoever can open the socket has the identities behind it: only our own user can, and nobody is attested further. */
  readonly socketPath: string;
  /** The trust domain; several servers may share it, one for each workload. */
  readonly authority: Authority;
  /** The first identity, `spiffe://<trust domain>/…`. */
  readonly spiffeId: string;
  readonly x509TtlSeconds: number;
  readonly jwtTtlSeconds: number;
  /** `iss` of JWT-SVIDs; by default the SPIFFE ID of the trust domain. */
  readonly jwtIssuer?: string;
}

/** A running Workload API: the X.509 and JWT profiles of PROTOCOLS 3.2, without ValidateJWTSVID. */
export interface WorkloadApiServer {
  readonly socketPath: string;
  /** What the SVIDs are verified with. */
  bundle(): AuthorityBundle;
  bundleJwks(): readonly PublicJwk[];
  /** Replaces the identities behind the socket; resolves when their SVIDs were issued and sent. */
  setEntries(entries: readonly WorkloadEntry[]): Promise<void>;
  /** Takes all identities back: open streams end with PERMISSION_DENIED and without an empty update, as SPIRE does it. */
  removeEntries(): Promise<void>;
  /** Issues new X509-SVIDs now; without it they are renewed at half of their life. */
  rotate(): Promise<void>;
  /** Signs JWT-SVIDs with a new key from now on; all servers of the authority send the new bundle. */
  rotateJwtKey(): void;
  /** Sends the present state again, unchanged, as SPIRE does at times. */
  announce(): void;
  /** Cuts all streams and frees the socket. */
  close(): void;
}

/** Serves the SPIFFE Workload API on a unix socket. A socket that a killed server left is replaced, a living one is an error. */
export async function openWorkloadApiServer(options: WorkloadApiServerOptions): Promise<WorkloadApiServer> {
  const { socketPath, authority, spiffeId, x509TtlSeconds, jwtTtlSeconds } = options;
  const entries = new WorkloadEntries(authority, x509TtlSeconds);
  await entries.set([{ spiffeId }]);
  const issuer = options.jwtIssuer ?? `spiffe://${authority.trustDomain}`;
  const server = new Server();
  server.addService(workloadApiService, workloadMethods(authority, entries, { ttlSeconds: jwtTtlSeconds, issuer }));
  try {
    await listen(server, socketPath);
  } catch (error) {
    entries.close();
    throw error;
  }
  return {
    socketPath,
    bundle: () => authority.bundle(),
    bundleJwks: () => authority.bundleJwks(),
    setEntries: (next) => entries.set(next),
    removeEntries: () => entries.set([]),
    rotate: () => entries.rotate(),
    rotateJwtKey: () => authority.rotateJwtKey(),
    announce: () => entries.announce(),
    close: () => {
      entries.close();
      server.forceShutdown();
    },
  };
}

async function listen(server: Server, socketPath: string): Promise<void> {
  await removeStaleSocket(socketPath);
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${socketPath}`, ServerCredentials.createInsecure(), (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
  await chmod(socketPath, 0o600);
}

/** A killed process leaves its socket file behind, and binding to it would fail; nobody answers at such a file. */
async function removeStaleSocket(socketPath: string): Promise<void> {
  const code = await new Promise<string | undefined>((resolve) => {
    const probe = connect(socketPath);
    probe.once('connect', () => {
      probe.destroy();
      resolve(undefined);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code));
  });
  if (code === 'ECONNREFUSED') await unlink(socketPath);
  if (code === undefined) throw new Error('another server listens on this socket');
}
