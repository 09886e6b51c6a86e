import { once } from 'node:events';
import { request as requestHttp, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer } from 'node:https';

import { TLSSocket, type SecureContext } from 'node:tls';
import type { DemoTool } from '../../embedded/demo-tool.ts';
import type { PodCa } from '../../intercept/pod-ca.ts';
import { Secret } from '../../trust/secret.ts';
import { parseObject, type JsonObject } from '../json-object.ts';

/** An access token as a tool got it. */
export interface SeenToken {
  readonly host: string;
  readonly token: Secret;
  readonly claims: JsonObject;
}

/** The TLS side of the demo's tools. */
export interface ToolFront {
  readonly port: number;
  /** Every token that arrived, oldest first, once for each request. */
  readonly seen: readonly SeenToken[];
  close(): Promise<void>;
}

/**
 * Puts TLS before the tools, by the name that the client asks for, and notes the tokens that they get: a tool sees its tokens, and the
 * demo shows what is in them and asks the token service about them.
 */
export async function openToolFront(tools: ReadonlyMap<string, DemoTool>, ca: PodCa): Promise<ToolFront> {
  const seen: SeenToken[] = [];
  const contexts = new Map<string, SecureContext>();
  for (const host of tools.keys()) contexts.set(host, await ca.contextFor(host));
  const server = createServer({ SNICallback: (name, done) => done(null, contexts.get(name)) });
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const host = request.socket instanceof TLSSocket ? request.socket.servername : '';
    const tool = tools.get(String(host));
    if (tool === undefined || typeof host !== 'string') {
      // A name that no tool has: this server is not that host (RFC 9110, 15.5.20).
      response.writeHead(421).end();
      return;
    }
    const token = readToken(request.headers.authorization, host);
    if (token !== undefined) seen.push(token);
    pass(request, response, tool);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
  return {
    port,
    seen,
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Header lists go on as they came: the tool itself counts repeated ones. */
function pass(request: IncomingMessage, response: ServerResponse, tool: DemoTool): void {
  const { method = 'GET', url = '/', rawHeaders } = request;
  const onward = requestHttp(new URL(tool.url), { method, path: url, headers: rawHeaders, agent: false });
  onward.on('error', () => response.destroy());
  onward.on('response', (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
    answer.pipe(response);
  });
  request.pipe(onward);
}

/** The token of a request, with its claims; undefined where there is none. */
function readToken(authorization: string | undefined, host: string): SeenToken | undefined {
  const text = /^(?:DPoP|Bearer) (?<token>\S+)$/i.exec(authorization ?? '')?.groups?.['token'];
  if (text === undefined) return undefined;
  return { host, token: new Secret(text), claims: decodeClaims(text) };
}

/** Claims of a JWT, not verified: for showing. */
export function decodeClaims(token: string): JsonObject {
  const payload = Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8');
  return parseObject(payload) ?? {};
}
