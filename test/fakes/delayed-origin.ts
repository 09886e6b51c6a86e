import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type FakeTokenService, openFakeTokenService } from './token-service.ts';

/** An origin where every answer of a token service takes its time. */
export interface DelayedOrigin {
  readonly origin: string;
  /** Opens the service behind it, whose metadata name this origin in all places. */
  openService(): Promise<FakeTokenService>;
  close(): Promise<void>;
}

/** Opens one on loopback. @param delayMs time of each request. */
export async function openDelayedOrigin(delayMs: number): Promise<DelayedOrigin> {
  let behind = '';
  const server = createServer((asked, response) => {
    setTimeout(() => pass(behind, asked, response), delayMs);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    origin,
    async openService() {
      const metadata = (members: Record<string, unknown>): Record<string, unknown> =>
        Object.fromEntries(Object.entries(members).map(([name, url]) => [name, String(url).replace(behind, origin)]));
      const service = await openFakeTokenService({ metadata });
      behind = service.issuer;
      return service;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

function pass(to: string, asked: IncomingMessage, response: ServerResponse): void {
  const sent = request(`${to}${asked.url}`, { method: asked.method, headers: asked.headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.pipe(response);
  });
  sent.on('error', () => response.destroy());
  asked.pipe(sent);
}
