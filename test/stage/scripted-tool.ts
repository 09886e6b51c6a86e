import { createServer as createHttp, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttps } from 'node:https';
import type { Socket } from 'node:net';
import { listenOnFreePort } from './free-port.ts';

/** A tool whose answers a test writes itself, chunk by chunk. */
export interface ScriptedTool {
  readonly port: number;
  /** Requests whose heads have come, in order. */
  readonly requests: IncomingMessage[];
  /** TCP connections that are open now. */
  readonly sockets: ReadonlySet<Socket>;
  close(): Promise<void>;
}

/** Opens one on loopback. A request that says `Expect: 100-continue` comes to `answer` as it is: nothing is said before. */
export async function openScriptedTool(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  tls?: { readonly cert: string; readonly key: string },
): Promise<ScriptedTool> {
  const requests: IncomingMessage[] = [];
  const sockets = new Set<Socket>();
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    requests.push(request);
    request.on('error', () => undefined);
    answer(request, response);
  };
  const server = tls === undefined ? createHttp(listener) : createHttps(tls, listener);
  server.keepAliveTimeout = 60_000;
  server.on('checkContinue', listener);
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined).once('close', () => sockets.delete(socket));
  });
  const port = await listenOnFreePort(server);
  return {
    port,
    requests,
    sockets,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}
