import { createServer as createHttp, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { buffer } from 'node:stream/consumers';
import { listenOnFreePort } from './free-port.ts';

/** One request as a tool saw it. */
export interface SeenCall {
  readonly method: string;
  readonly path: string;
  readonly rawHeaders: readonly string[];
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

/** A tool that keeps what it gets and answers with it as JSON (without the credential). */
export interface EchoTool {
  readonly port: number;
  readonly seen: SeenCall[];
  /** TCP connections that were opened to it. */
  connections(): number;
  close(): Promise<void>;
}

/** Opens a tool on loopback. @param answer replaces the echo; the request was kept already. */
export async function openEchoTool(
  options: { tls?: { cert: string; key: string }; answer?: (call: SeenCall, response: ServerResponse) => void } = {},
): Promise<EchoTool> {
  const seen: SeenCall[] = [];
  let connections = 0;
  const listener: RequestListener = (request, response) => {
    void (async () => {
      const call: SeenCall = {
        method: request.method ?? '',
        path: request.url ?? '',
        rawHeaders: request.rawHeaders,
        headers: request.headers,
        body: await buffer(request).catch(() => Buffer.alloc(0)),
      };
      seen.push(call);
      if (options.answer !== undefined) options.answer(call, response);
      else answerEcho(call, response);
    })();
  };
  const server = options.tls === undefined ? createHttp(listener) : createHttps(options.tls, listener);
  server.on('connection', () => (connections += 1));
  const port = await listenOnFreePort(server);
  return {
    port,
    seen,
    connections: () => connections,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}

export function answerEcho(call: SeenCall, response: ServerResponse): void {
  const names = Object.keys(call.headers).toSorted();
  const body = JSON.stringify({ method: call.method, path: call.path, headers: names, bytes: call.body.length });
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

/** Opens the tool. A path that begins with `/stream` is answered without end. */
export function openStreamTool(): Promise<EchoTool> {
  return openEchoTool({
    answer: (call, response) => {
      if (!call.path.startsWith('/stream')) {
        answerEcho(call, response);
        return;
      }
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const timer = setInterval(() => response.write('data: x\n\n'), 20);
      response.once('close', () => clearInterval(timer));
    },
  });
}
