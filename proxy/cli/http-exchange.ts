import { request as requestHttp, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as requestHttps } from 'node:https';

/** One request to a service that is ours. */
export interface Exchange extends Pick<RequestOptions, 'socketPath' | 'headers' | 'method'> {
  /** Of a unix socket only the path matters; its host is `localhost`. */
  readonly url: URL;
  readonly body?: string;
  /** How long the answer may take; 30 s where it is not said. */
  readonly withinMs?: number;
}

/** Who was asked took the connection, and has not answered in time. What was asked for may have been done. */
export class NoAnswerInTime extends Error {
  override readonly name = 'NoAnswerInTime';

  constructor(ms: number) {
    super(`did not answer in ${ms / 1000} s`);
  }
}

/** The answer is longer than anything that is ours. What was asked for may have been done. */
export class AnswerTooLong extends Error {
  override readonly name = 'AnswerTooLong';

  constructor() {
    super(`gave an answer of more than ${maxAnswerLength / 1024 / 1024} MiB`);
  }
}

const defaultWithinMs = 30_000;
const maxAnswerLength = 16 * 1024 * 1024;

/**
 * Makes one request on a connection of its own. Rejects with the system's error (`code`) where nobody answers, with `NoAnswerInTime` or
 * `AnswerTooLong` where somebody does and it is no good. No proxy, no redirect.
 */
export async function exchangeHttp({
  withinMs = defaultWithinMs,
  ...exchange
}: Exchange): Promise<{ status: number; text: string }> {
  const signal = AbortSignal.timeout(withinMs);
  try {
    return await exchangeWithin(exchange, signal);
  } catch (error) {
    throw signal.aborted ? new NoAnswerInTime(withinMs) : error;
  }
}

async function exchangeWithin({ url, body, ...options }: Omit<Exchange, 'withinMs'>, signal: AbortSignal) {
  if (options.socketPath === '') throw new Error('the path of the socket is empty');
  const start = url.protocol === 'https:' ? requestHttps : requestHttp;
  // An agent of its own: the global one would take the proxy of the environment, which may be the sidecar itself.
  // Verified whatever NODE_TLS_REJECT_UNAUTHORIZED says: the request may carry an operator's token.
  const request = start(url, { ...options, agent: false, signal, rejectUnauthorized: true });
  request.end(body);
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    request.once('response', resolve).once('error', reject);
  });
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) {
    text += String(chunk);
    if (text.length > maxAnswerLength) throw new AnswerTooLong();
  }
  return { status: response.statusCode ?? 0, text };
}
