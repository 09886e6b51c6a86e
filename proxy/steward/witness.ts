import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Registry } from 'prom-client';
import { bound, checkHost, listening, oneByOne, type StewardListener } from './operator-listener.ts';

/** What readiness asks; each answers why it is not ready, or undefined. */
export type Readiness = () => readonly string[];

/** Metrics for Prometheus at `/metrics`. */
export async function openMetrics(
  at: { readonly address: string; readonly port: number },
  registry: Registry,
): Promise<StewardListener> {
  return open(at, async (path, response) => {
    if (path !== '/metrics') return false;
    const text = await registry.metrics();
    response.writeHead(200, { 'Content-Type': registry.contentType });
    response.end(text);
    return true;
  });
}

/** `/livez`: the process answers. `/readyz`: calls can pass; otherwise 503 with the reasons. */
export async function openHealth(
  at: { readonly address: string; readonly port: number },
  readiness: Readiness,
): Promise<StewardListener> {
  return open(at, (path, response) => {
    if (path !== '/livez' && path !== '/readyz') return Promise.resolve(false);
    const missing = path === '/livez' ? [] : readiness();
    response.writeHead(missing.length === 0 ? 200 : 503, { 'Content-Type': 'application/json' });
    response.end(`${JSON.stringify({ status: missing.length === 0 ? 'ok' : 'not ready', missing })}\n`);
    return Promise.resolve(true);
  });
}

async function open(
  at: { readonly address: string; readonly port: number },
  serve: (path: string, response: ServerResponse) => Promise<boolean>,
): Promise<StewardListener> {
  const loopback = at.address.startsWith('127.') || at.address === '::1';
  const server = createServer(
    { maxHeaderSize: 16_384, headersTimeout: 10_000, requestTimeout: 30_000 },
    oneByOne((request, response) => {
      if (!isAllowed(request, loopback)) {
        response.writeHead(403, { Connection: 'close' }).end();
        return;
      }
      const path = (request.url ?? '').split('?')[0] ?? '';
      const fail = (status: number): void => void response.writeHead(status, { Connection: 'close' }).end();
      serve(path, response).then(
        (served) => served || fail(404),
        () => fail(500),
      );
    }),
  );
  await listening(server, () => server.listen(at.port, at.address));
  return bound(server);
}

/** Scrapers come by any name of the pod; a page in a browser is kept off by its Origin, and on loopback by Host as well. */
function isAllowed(request: IncomingMessage, loopback: boolean): boolean {
  if (request.method !== 'GET' && request.method !== 'HEAD') return false;
  if (!loopback) return request.headers.origin === undefined;
  try {
    checkHost(request);
    return true;
  } catch {
    return false;
  }
}
