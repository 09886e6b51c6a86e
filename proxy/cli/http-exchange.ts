import { request as requestHttp, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as requestHttps } from 'node:https';

/** One request to a service that is ours. */
export interface Exchange extends Pick<RequestOptions, 'socketPath' | 'headers' | 'method'> {
  /** Of a unix socket only the path matters; its host is `localhost`. */
  readonly url: URL;
  readonly body?: string;
}

const timeoutMs = 30_000;
const maxAnswerLength = 16 * 1024 * 1024;

/** Makes one request on a connection of its own. Rejects with the system's error (`code`) where nobody answers. No proxy, no redirect. */
export async function exchangeHttp({ url, body, ...options }: Exchange): Promise<{ status: number; text: string }> {
  if (options.socketPath === '') throw new Error('the path of the socket is empty');
  const start = url.protocol === 'https:' ? requestHttps : requestHttp;
  // An agent of its own: the global one would take the proxy of the environment, which may be the sidecar itself.
  const request = start(url, { ...options, agent: false, signal: AbortSignal.timeout(timeoutMs) });
  request.end(body);
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    request.once('response', resolve).once('error', reject);
  });
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) {
    text += String(chunk);
    if (text.length > maxAnswerLength) throw new Error('the answer is too long');
  }
  return { status: response.statusCode ?? 0, text };
}
