import { chmodSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { Problem, sendProblem } from './problem.ts';
import { serveOperator, type OperatorRooms } from './operator-api.ts';
import type { Role, RoleTokens } from './roles.ts';

/** A listener of the operator's side. */
export interface StewardListener {
  /** `address:port`, or the path of a socket. */
  readonly address: string;
  readonly port: number | undefined;
  close(): Promise<void>;
}

const limits = { maxHeaderSize: 16_384, headersTimeout: 10_000, requestTimeout: 30_000 } as const;

/** The operator's API on a unix socket (0600): whoever can open it is the operator. A stale socket is replaced, a live one is not. */
export async function openOperatorSocket(path: string, rooms: OperatorRooms): Promise<StewardListener> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  await removeStaleSocket(path);
  // A page in a browser cannot reach a unix socket, so the name in Host means nothing here.
  const server = createServer(
    limits,
    oneByOne((request, response) => void serveOperator(request, response, 'operator', rooms)),
  );
  const umask = process.umask(0o177);
  try {
    await listening(server, () => server.listen(path));
  } catch (error) {
    // The default may be too long as well, below a long XDG_RUNTIME_DIR; Node.js says of it that an argument is invalid.
    const isTooLong = error instanceof Error && 'code' in error && error.code === 'EINVAL';
    throw isTooLong ? new Error(`${path} is too long for a socket; name a shorter operator.socket`) : error;
  } finally {
    process.umask(umask);
  }
  chmodSync(path, 0o600);
  return { address: path, port: undefined, close: () => closed(server) };
}

/** The same API over HTTP, for callers with a token. */
export async function openOperatorPort(
  at: { readonly address: string; readonly port: number },
  tokens: RoleTokens,
  rooms: OperatorRooms,
): Promise<StewardListener> {
  const serve = oneByOne((request, response) => {
    const role = authorize(request, response, tokens);
    if (role !== undefined) void serveOperator(request, response, role, rooms);
  });
  const server = createServer(limits, serve);
  await listening(server, () => server.listen(at.port, at.address));
  return bound(server);
}

function authorize(request: IncomingMessage, response: ServerResponse, tokens: RoleTokens): Role | undefined {
  try {
    checkHost(request);
    return tokens.roleOf(request);
  } catch (error) {
    sendProblem(response, error instanceof Problem ? error : new Problem('internal_fault'));
    return undefined;
  }
}

/**
 * A page in a browser can be made to call a port of this machine, by its address or by a name that it rebinds: it cannot choose Host
 * freely and cannot hide its Origin.
 */
export function checkHost(request: IncomingMessage): void {
  if (request.headers.origin !== undefined) throw new Problem('host_forbidden', 'Origin is not accepted here.');
  const local = request.socket.localAddress ?? '';
  const match = /^(?:\[(?<v6>[^\]]+)\]|(?<name>[^:]+))(?::(?<port>\d+))?$/.exec(request.headers.host ?? '');
  const host = match?.groups?.['v6'] ?? match?.groups?.['name']?.toLowerCase();
  const named = host === 'localhost' || host === local || `::ffff:${host}` === local;
  if (!named || Number(match?.groups?.['port'] ?? 80) !== request.socket.localPort) throw new Problem('host_forbidden');
}

async function removeStaleSocket(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) throw new Error(`${path} is there and is not a socket`);
  const alive = await new Promise<boolean>((resolve) => {
    const probe = connect(path, () => resolve(true)).on('error', () => resolve(false));
    probe.once('connect', () => probe.destroy());
  });
  // Told like a port that is taken: most likely a sidecar runs here already.
  if (alive) throw Object.assign(new Error(`another process listens on ${path}`), { code: 'EADDRINUSE' });
  unlinkSync(path);
}

type Serve = (request: IncomingMessage, response: ServerResponse) => void;

/**
 * Serves a connection one request after the other. An answer has the connection when it is the next to go out. Whoever asks again before it
 * has, and reads nothing, would have as many answers stand in memory as he likes, with a token or none; who scrapes, probes or operates
 * never does. But he may have an answer before we are told that it went out, as over TLS: behind one that is whole, another may wait.
 */
export function oneByOne(serve: Serve): Serve {
  const newest = new WeakMap<Socket, ServerResponse>();
  return (request, response) => {
    const before = newest.get(request.socket);
    newest.set(request.socket, response);
    const isBehindWhole = before !== undefined && before.writableEnded && before.socket !== null;
    if (response.socket !== null || isBehindWhole) serve(request, response);
    else request.socket.destroy();
  };
}

export async function listening(server: Server, listen: () => void): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.once('listening', resolve);
    listen();
  });
}

export function bound(server: Server): StewardListener {
  const at = server.address();
  if (at === null || typeof at === 'string') throw new Error('the listener has no address');
  const { address, port } = at;
  return { address, port, close: () => closed(server) };
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
