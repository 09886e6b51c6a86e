/** The few parts of http-proxy 1.18.1 that the baseline uses; the package brings no types. */
declare module 'http-proxy-baseline' {
  import type { Agent, ClientRequest, IncomingMessage, ServerResponse } from 'node:http';

  interface Proxy {
    web(request: IncomingMessage, response: ServerResponse): void;
    on(event: 'proxyReq', listener: (outgoing: ClientRequest) => void): void;
    on(event: 'error', listener: (error: Error, request: IncomingMessage, response: ServerResponse) => void): void;
  }

  const library: { createProxyServer(options: { target: string; agent: Agent }): Proxy };
  export default library;
}
