import type { Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { Client } from 'undici';
import type { Origin } from '../intercept/origin.ts';
import type { Tool } from '../intercept/tool-catalogue.ts';
import type { Way } from '../route/egress-guard.ts';
import type { ClientCertificate } from '../trust/client-certificate.ts';
import type { World } from '../world.ts';
import type { Channel, ToolTls } from './tool-tls.ts';

/** How long a TCP connection and a TLS handshake may take together, milliseconds. */
const connectMs = 5000;

/**
 * How long an idle connection is kept where the tool does not say how long it keeps its own. A tool that closes it first may do so while a
 * call is on its way, which is then lost, and servers close after 2 s (gunicorn) or 5 s (uvicorn). Near by, a new one costs nearly nothing.
 * Not a second or less: for these undici makes a timer of the system for each call, a fifth of all that a call costs.
 */
const restNearMs = 1100;
const restFarMs = 4000;

/** What is dialled, and on which terms. */
export interface Dialled {
  /** The checked address; that of the call which has the connection. */
  way: Way;
  /** The address of its way that was dialled last: of several, the one that answered. */
  address: string;
  /** Undefined without TLS. */
  channel: Channel | undefined;
  /** Certificate that the token of the call is bound to which has the connection: it shows no other meanwhile. */
  bound: ClientCertificate | undefined;
  /** Users of this machine that may have its other end, where a caller chose the port; undefined while nobody looked. */
  acceptors: readonly number[] | undefined;
}

interface Terms {
  readonly world: World;
  readonly tls: ToolTls;
  readonly tool: Tool;
  readonly origin: Origin;
}

type Done = (...args: [error: null, socket: Socket | TLSSocket] | [error: Error, socket: null]) => void;

/** A client of one connection, which it dials when it needs it. */
export function clientTo({ scheme, host, port }: Origin, { kind }: Way, dial: (done: Done) => void): Client {
  return new Client(`${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`, {
    pipelining: 1,
    allowH2: false,
    // No time-outs on headers and bodies: a tool may think for long, and streams have pauses (PEERS trap 14). TCP keep-alive finds the dead.
    headersTimeout: 0,
    bodyTimeout: 0,
    maxHeaderSize: 65_536,
    keepAliveTimeout: kind === 'public' ? restFarMs : restNearMs,
    connect: (_options, done) => dial(done),
  });
}

/** Connects to a tool: to the checked address, in time, with TLS where the origin says so, and not to who must not have the credential. */
export function dialTool(dialled: Dialled, terms: Terms, done: Done): void {
  const { address, port, others } = dialled.way;
  dialled.address = address;
  const socket = terms.world.dial(address, port, others);
  // Told for each further one.
  socket.on('connectionAttempt', (next) => {
    dialled.address = next;
  });
  let connection: Socket | TLSSocket = socket;
  const settle = (error: Error | null): void => {
    clearTimeout(timer);
    connection.removeListener('error', settle);
    const fault = error ?? findForeigner(dialled, socket);
    if (fault === undefined) {
      done(null, connection);
      return;
    }
    socket.destroy();
    done(fault, null);
  };
  const timer = setTimeout(() => settle(new Error('the connection took too long')), connectMs);
  socket.once('error', settle).once('connect', () => {
    try {
      // Not before: TLS over a socket that goes on to another address of the name ends the process (a fault of Node.js).
      connection = startTls(socket, dialled, terms) ?? socket;
    } catch {
      // The identity was lost between the first dial of this client and its second.
      settle(new Error('there is no identity for TLS'));
      return;
    }
    if (connection === socket) {
      settle(null);
      return;
    }
    socket.removeListener('error', settle);
    connection.once('error', settle).once('secureConnect', () => settle(null));
  });
}

/** TLS to the tool, verified in full. A client that dials again does it on the terms of now. */
function startTls(socket: Socket, dialled: Dialled, { tls, tool, origin }: Terms): TLSSocket | undefined {
  if (dialled.channel === undefined) return undefined;
  // A rotation since the token was obtained changes nothing for its call: the certificate before is good until its end.
  if (!dialled.channel.isCurrent()) dialled.channel = tls.channelTo(tool, origin, dialled.bound);
  return connectTls({ socket, ...dialled.channel.options });
}

/** Why nothing must be written to this connection, for whose end it is. Nothing was yet. */
function findForeigner(dialled: Dialled, socket: Socket): Error | undefined {
  try {
    dialled.acceptors = dialled.way.chooser?.inspect(socket);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error('the other end cannot be looked at');
  }
}
