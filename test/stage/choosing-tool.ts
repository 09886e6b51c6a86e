import type { ServerResponse } from 'node:http';
import { answerEcho, type EchoTool, openEchoTool, type SeenCall } from './echo-tool.ts';

/** How one place of a tool answers. A text or an object is a document, `slow` is no answer. */
export type Place =
  | { readonly document: unknown; readonly type?: string }
  | { readonly status: number; readonly headers?: Record<string, string> }
  | 'slow';

/** Tools behind one port, told apart by the host that is called. Each has places of its own; everything else it echoes. */
export interface ChoosingTools extends EchoTool {
  /** Places by `host path`; may be changed while it runs. */
  readonly places: Map<string, Place>;
  /** What a host was asked, as `METHOD path`, with ` credential` where it had one. */
  asked(host: string): string[];
}

export const wellKnown = '/.well-known/oauth-protected-resource';

export async function openChoosingTools(tls?: { cert: string; key: string }): Promise<ChoosingTools> {
  const places = new Map<string, Place>();
  const answer = (call: SeenCall, response: ServerResponse): void => {
    const place = places.get(`${call.headers.host} ${call.path}`) ?? places.get(`${call.headers.host} ${call.method}`);
    if (place !== undefined) answerPlace(place, response);
    else if (call.path.startsWith('/.well-known/')) response.writeHead(404).end('nothing here');
    else answerEcho(call, response);
  };
  const tool = await openEchoTool(tls === undefined ? { answer } : { answer, tls });
  return Object.assign(tool, {
    places,
    asked: (host: string) =>
      tool.seen
        .filter(({ headers }) => headers.host === host)
        .map(({ method, path, headers }) => `${method} ${path}${hasCredential(headers) ? ' credential' : ''}`),
  });
}

function hasCredential(headers: SeenCall['headers']): boolean {
  return ['authorization', 'proxy-authorization', 'cookie', 'dpop'].some((name) => headers[name] !== undefined);
}

function answerPlace(place: Place, response: ServerResponse): void {
  if (place === 'slow') return;
  if ('status' in place) {
    response.writeHead(place.status, place.headers).end();
    return;
  }
  const { document, type = 'application/json' } = place;
  response.writeHead(200, { 'content-type': type });
  response.end(typeof document === 'string' ? document : JSON.stringify(document));
}
