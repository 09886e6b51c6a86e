import { allowInsecureRequests, customFetch, type CustomFetchOptions } from 'oauth4webapi';
import type { ClientCertificate } from '../trust/client-certificate.ts';
import type { Deadline } from './deadline.ts';

/** Answer of an endpoint. Header names are lower case; the body is the whole text. */
export interface EndpointReply {
  readonly status: number;
  readonly headers: Record<string, string | undefined>;
  readonly body: string;
}

/**
 * Port: one HTTP exchange with an endpoint of a token service. The adapter dials through the egress guard, verifies TLS, follows no
 * redirect, and throws `EndpointFault` when the whole exchange takes longer than `timeoutMs` (`timeout`; whole milliseconds), the body is larger than
 * `maxBytes` (`oversize`), an answer began and broke off (`cut`), or there is none for another reason (`unreachable`; any other error
 * counts as that).
 */
export type EndpointCall = (
  url: URL,
  init: {
    method: 'GET' | 'POST';
    headers: Record<string, string>;
    body?: string;
    timeoutMs: number;
    maxBytes: number;
    /** Presented on the connection, which has to be TLS then. */
    certificate?: ClientCertificate | undefined;
  },
) => Promise<EndpointReply>;

/** Why an endpoint gave no answer. Never holds a URL, a header or a body. */
export class EndpointFault extends Error {
  /** `unavailable` is a gateway's answer in place of the service's: 502, 503 or 504 without Retry-After. */
  readonly reason: 'timeout' | 'oversize' | 'cut' | 'unreachable' | 'unavailable';

  constructor(reason: EndpointFault['reason']) {
    super(`endpoint ${reason}`);
    this.reason = reason;
  }
}

/** A token of 16 KiB, JSON-escaped, with room for what services add. */
const maxAnswerBytes = 64 * 1024;

/** One request that oauth4webapi builds and we send, and the answer as it came. */
export class EndpointExchange {
  readonly #call: EndpointCall;
  readonly #deadline: Deadline;
  readonly #certificate: ClientCertificate | undefined;
  #reply: EndpointReply | undefined;
  #sentValues: readonly string[] = [];

  /** @param certificate to present in place of the one that the service knows us by. */
  constructor(call: EndpointCall, deadline: Deadline, certificate?: ClientCertificate) {
    this.#call = call;
    this.#deadline = deadline;
    this.#certificate = certificate;
  }

  /** Options of a request of oauth4webapi. Plain http was allowed or refused before: `checkEndpoint` knows what is loopback. */
  options(headers: Record<string, string> = {}): {
    headers: Record<string, string>;
    [allowInsecureRequests]: true;
    [customFetch]: (url: string, init: CustomFetchOptions<'POST', URLSearchParams>) => Promise<Response>;
  } {
    return { headers, [allowInsecureRequests]: true, [customFetch]: (url, init) => this.#send(url, init) };
  }

  /** The answer to the request that was sent with these options. */
  reply(): EndpointReply {
    if (this.#reply === undefined) throw new EndpointFault('unreachable');
    return this.#reply;
  }

  /** Whether a text is one of the values that we sent: our subject token, actor token, assertion or secret. */
  hasSent(text: string): boolean {
    return this.#sentValues.includes(text);
  }

  async #send(url: string, init: CustomFetchOptions<'POST', URLSearchParams>): Promise<Response> {
    this.#sentValues = [...init.body.values(), ...readBasic(init.headers['authorization'])];
    this.#reply = await this.#call(new URL(url), {
      method: 'POST',
      headers: init.headers,
      body: init.body.toString(),
      timeoutMs: this.#deadline.leftMs(),
      maxBytes: maxAnswerBytes,
      certificate: this.#certificate,
    });
    // Only to let the library come back: answers are read from `reply()`, since a `Response` cannot hold every status and body.
    return new Response(null, { status: 200 });
  }
}

/** What a header of `client_secret_basic` holds: the name and the secret in one, and each as it was before its encoding (RFC 6749 2.3.1). */
function readBasic(header: string | undefined): readonly string[] {
  const [, text] = /^Basic (.+)$/.exec(header ?? '') ?? [];
  if (text === undefined) return [];
  const pair = Buffer.from(text, 'base64').toString('utf8').replace(':', '=');
  return [text, ...[...new URLSearchParams(pair)].flat()];
}

/** An answer that we have read ourselves, in the form that the validating half of oauth4webapi takes. */
export function asResponse(json: unknown): Response {
  return new Response(JSON.stringify(json), { status: 200, headers: { 'content-type': 'application/json' } });
}

/** Whether an answer says that it is JSON. Bodies of another kind are never parsed. */
export function isJson(reply: EndpointReply): boolean {
  const [type = ''] = (reply.headers['content-type'] ?? '').split(';', 1);
  return type.trim().toLowerCase() === 'application/json';
}
