import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Refusal, toldAsUnsure } from '../refusal.ts';
import type { RefusalCode } from '../refusal-kinds.ts';
import { endBehind, isClosing, isEnding, judgedOn, markBroken, refusalBytes, renderRefusal } from './answer.ts';
import { ownName, type Arrival, type Door, type Reader } from './call.ts';
import type { PodCa } from './pod-ca.ts';
import { afterAnswers, answerOwed, hearBehindConnect } from './owed-answers.ts';
import { closeServer, followConnections, followSilent } from './stop.ts';
import { inTurn } from './turns.ts';
import { endUnread } from './unread-answers.ts';
import { connectTarget, openTunnel, readConnect, type ConnectRequest } from './tunnel.ts';

/** A connection that was ended before there was a request on it, and nothing could be answered. */
export interface TurnedAway {
  readonly code: 'caller_not_allowed' | 'message_malformed' | 'identity_unavailable' | 'overloaded';
  /** `no_tls`, `no_svid`, or what OpenSSL says of the handshake, as `peer_did_not_return_a_certificate`: never a text of the caller. */
  readonly cause: string;
  /** Address of the caller, as far as it is known still. */
  readonly peer: string | undefined;
  /** Of a CONNECT, where it was to lead. */
  readonly target?: Named;
}

/** Where a request was to lead that was refused before it was one. */
interface Named {
  readonly method: string;
  readonly host: string;
  readonly port: number;
}

/** Who takes what the listener hears. */
export interface Hearers {
  /** A request, not yet judged. Never rejects. */
  onRequest(arrival: Arrival): void;
  /** Whether a tunnel may be opened by what its CONNECT carries; throws a Refusal otherwise. */
  checkTunnel(connect: ConnectRequest): void;
  /** A connection or CONNECT that was refused before there was a request. @param wasAdmitted the rest of a request that was. */
  onRefused(callId: string, refusal: Refusal, about: Named | undefined, wasAdmitted: boolean): void;
  onTurnedAway(connection: TurnedAway): void;
  readonly nextCallId: () => string;
  readonly monotonic: () => number;
}

export interface Listener {
  readonly address: string;
  readonly port: number;
  /** Stops listening, lets running answers end for at most `graceMs`, then cuts. */
  close(graceMs: number): Promise<void>;
}

/** Opens the way out's port: forward proxy (absolute-form and CONNECT) and mounts. The first bytes tell which. */
export async function openListener(
  at: { host: string; port: number },
  reader: () => Reader,
  ca: PodCa,
  hearers: Hearers,
): Promise<Listener> {
  const server = httpServer();
  const doors = new WeakMap<Socket, Door>();
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    // A connection whose CONNECT was challenged begins anew, and must not gather listeners by that.
    if (sockets.has(socket)) return;
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  hearRequests(server, doors, hearers);
  hearConnects(server, doors, reader, ca, hearers);
  hearBrokenRequests(server, hearers);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(at.port, at.host, resolve);
  });
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('the listener has no address');
  return {
    address: bound.address,
    port: bound.port,
    close: (graceMs) => closeServer(server, server, sockets, graceMs),
  };
}

/** An HTTP/1.1 server with our limits. Host is checked by us, with an event; bodies and streams may take their time. */
export function httpServer(): Server {
  const server = createServer({
    requireHostHeader: false,
    insecureHTTPParser: false,
    maxHeaderSize: 32_768,
    headersTimeout: 20_000,
    connectionsCheckingInterval: 2000,
    requestTimeout: 0,
    keepAliveTimeout: 75_000,
    noDelay: true,
    // A request that declares no body has none (RFC 9112 6.3): no stream is set up and ended for it.
    optimizeEmptyRequests: true,
  });
  server.timeout = 0;
  return server;
}

export function hearRequests(server: Server, doors: WeakMap<Socket, Door>, hearers: Hearers): void {
  followConnections(server);
  endUnread(server);
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const { socket } = request;
    // Looked at when its turn has come: what follows a message that could not be read is no request.
    if (isEnding(socket)) return;
    let door = doors.get(socket);
    if (door === undefined) {
      door = {
        kind: 'proxy',
        own: ownName(socket),
      };
      doors.set(socket, door);
    }
    hearers.onRequest({
      id: hearers.nextCallId(),
      request,
      response,
      door,
      startedAt: hearers.monotonic(),
      seen: undefined,
    });
  };
  const hear = (request: IncomingMessage, response: ServerResponse): void => {
    const { socket } = request;
    const peer = socket.remoteAddress;
    inTurn(server, request, response, {
      begin: () => onRequest(request, response),
      onTooMany: () => hearers.onTurnedAway({ code: 'overloaded', cause: 'too_many_requests_at_once', peer }),
    });
  };
  // An Expect header is answered by us: 100 is said only to a permitted call (body.ts).
  server.on('request', hear).on('checkContinue', hear).on('checkExpectation', hear);
}

function hearConnects(
  server: Server,
  doors: WeakMap<Socket, Door>,
  reader: () => Reader,
  ca: PodCa,
  hearers: Hearers,
): void {
  const guarded = new WeakSet<Socket>();
  server.on('connect', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    if (!guarded.has(socket)) socket.on('error', () => socket.destroy());
    guarded.add(socket);
    const id = hearers.nextCallId();
    // Known whatever is refused below, and for the record of that.
    const target = connectTarget(request);
    let connect: ConnectRequest;
    try {
      if (doors.get(socket)?.kind === 'tunnel')
        throw new Refusal('message_malformed', 'CONNECT inside a tunnel is not served.');
      // The answer would come inside the tunnel, and be read as that of what is sent there.
      if (answerOwed(socket) !== undefined)
        throw new Refusal('message_malformed', 'CONNECT is served when the requests before it are answered.');
      const { catalogue, classOfName } = reader();
      connect = readConnect(request, catalogue, classOfName);
      hearers.checkTunnel(connect);
    } catch (error) {
      const refusal = error instanceof Refusal ? error : new Refusal('internal_fault');
      hearers.onRefused(id, refusal, target === undefined ? undefined : { method: 'CONNECT', ...target }, false);
      hearBehindConnect(socket);
      afterAnswers(socket, () => refuseConnect(server, socket, head, id, refusal));
      return;
    }
    const { proxyAuthorization } = connect;
    socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
    followSilent(server, socket, socket.bytesRead - head.length);
    const { remoteAddress: peer } = socket;
    const { host, port } = connect;
    openTunnel(socket, head, connect, ca, {
      accept: (inner, tunnel) => {
        doors.set(inner, { kind: 'tunnel', tunnel, proxyAuthorization });
        server.emit('connection', inner);
      },
      onFailed: (cause) =>
        hearers.onTurnedAway({ code: 'message_malformed', cause, peer, target: { method: 'CONNECT', host, port } }),
    });
  });
}

/** A challenged client asks again on the same connection (NTLM-shy clients such as git do); any other refusal ends it. */
function refuseConnect(server: Server, socket: Socket, head: Buffer, id: string, refusal: Refusal): void {
  if (isClosing(socket)) return;
  const keep = refusal.code === 'task_unknown' && head.length === 0;
  const bytes = refusalBytes(renderRefusal(refusal, id, true), !keep);
  if (!keep) {
    socket.end(bytes);
    return;
  }
  socket.write(bytes);
  server.emit('connection', socket);
}

/** A head that does not come to its end, as node:http calls it. */
const lateHead = 'ERR_HTTP_REQUEST_TIMEOUT';

/** What the parser refused: answered with 400 and closed, because nobody can tell where the next request would begin. */
export function hearBrokenRequests(server: Server, hearers: Hearers): void {
  server.on('clientError', ({ code: fault = '' }: NodeJS.ErrnoException, socket: Socket) => {
    const owed = answerOwed(socket);
    // One who said its last in the middle of a head reads no answer that has begun (nor does one who says it between two heads).
    const hasLeft = socket.readableEnded && (isClosing(socket) || owed?.headersSent === true);
    const isThere = !socket.destroyed && !hasLeft && fault !== 'ECONNRESET' && fault !== 'EPIPE';
    if (isThere && isClosing(socket)) return;
    if (!isThere || !socket.writable || (fault === lateHead && owed === undefined)) {
      socket.destroy();
      return;
    }
    // It came behind a request whose answer is still waited for.
    if (fault === lateHead && owed !== undefined) {
      endBehind(owed, socket, '');
      return;
    }
    const judged = judgedOn(socket);
    const isOver = judged !== undefined && (owed === undefined || !judged.isAdmitted);
    // What is left of a request that was answered is no other one: it was counted and recorded, and a second answer would be nobody's.
    if (isEnding(socket) || isOver) {
      socket.end(() => socket.destroy());
      return;
    }
    // Of an admitted one the end is told by its own record: two events would be two requests.
    const id = judged?.id ?? hearers.nextCallId();
    const code: RefusalCode = fault === 'HPE_HEADER_OVERFLOW' ? 'body_too_large' : 'message_malformed';
    const refusal = new Refusal(code);
    hearers.onRefused(id, refusal, undefined, judged !== undefined);
    markBroken(socket);
    const bytesOf = (told: Refusal): string => refusalBytes(renderRefusal(told, id, false), true);
    // A request that was whole may be with the tool: ours in place of its answer must not say that it was not done.
    const told = owed?.req.complete === true ? toldAsUnsure(refusal) : refusal;
    if (owed?.headersSent !== true) socket.end(bytesOf(told), () => socket.destroy());
    // An answer that has begun cannot be followed by another before its end: the agent would read ours as part of it.
    else if (owed.req.complete) endBehind(owed, socket, bytesOf(refusal));
    else socket.destroy();
  });
}
