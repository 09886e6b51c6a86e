/** What every variant is asked and what the static upstream answers. Each variant sees the same bytes. */
export interface Scenario {
  readonly name: string;
  /** One line for the report. */
  readonly title: string;
  /** The bare forwarder among its variants, with which the others are compared. */
  readonly baseline: string;
  /** Whether each request carries a DPoP proof of its own; then the cost of verifying one signature is measured beside. */
  readonly proved: boolean;
  /** The request as a client writes it; `credential` is what its variant takes in `Authorization`. */
  readonly request: (credential: string) => string;
  /** The whole answer of the upstream. */
  readonly response: string;
}

/** Name under which the tool is known to clients. It exists in no DNS: each variant has its own way to the upstream. */
export const toolHost = 'tool.test';

/** Origin and URL by which callers know the agent behind the way in. */
export const agentOrigin = 'http://load-agent.localhost';
const agentPath = '/v1/items/42';
export const agentUrl = `${agentOrigin}${agentPath}`;

/** Stands in a request where each use of it has a proof of its own. */
export const proofPlace = '<proof>';

const body = JSON.stringify({ id: 42, note: 'x'.repeat(1024 - 19) });

const response =
  head('HTTP/1.1 200 OK', [
    'Content-Type: application/json',
    `Content-Length: ${body.length}`,
    'Date: Sun, 22 Nov 2026 10:00:00 GMT',
    'Server: upstream',
    'Cache-Control: no-store',
    'ETag: "4a-18c2f0d1a40"',
    'Vary: Accept-Encoding',
    'X-Request-Id: 3b1f0c52-7f0e-4a55-9d0c-0d6f3a3c1a77',
  ]) + body;

const clientHeaders = [
  'X-Request-Id: 3b1f0c52-7f0e-4a55-9d0c-0d6f3a3c1a77',
  'Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
];

/** A small read over keep-alive: 7 request headers, 8 response headers, 1 KB of JSON. */
const getOneKilobyte: Scenario = {
  name: 'get-1k',
  title: 'GET of 1 KB, 7 request and 8 response headers, keep-alive, `Authorization` rewritten',
  baseline: 'undici',
  proved: false,
  request: (bearer) =>
    head(`GET http://${toolHost}/v1/items/42 HTTP/1.1`, [
      `Host: ${toolHost}`,
      'User-Agent: agent/1.0',
      'Accept: application/json',
      'Accept-Encoding: gzip, br',
      `Authorization: Bearer ${bearer}`,
      ...clientHeaders,
    ]),
  response,
};

/** The same read on the way in: the caller's token and, with each request, a proof of its own. */
const inboundGetOneKilobyte: Scenario = {
  name: 'inbound-get-1k',
  title:
    'Way in: GET of 1 KB, 8 request and 8 response headers, keep-alive, a DPoP-bound token that was verified before and a fresh proof with each request',
  baseline: 'undici-reverse',
  proved: true,
  request: (token) =>
    head(`GET ${agentPath} HTTP/1.1`, [
      `Host: ${new URL(agentOrigin).host}`,
      'User-Agent: caller/1.0',
      'Accept: application/json',
      'Accept-Encoding: gzip, br',
      `Authorization: DPoP ${token}`,
      `DPoP: ${proofPlace}`,
      ...clientHeaders,
    ]),
  response,
};

export const scenarios: readonly Scenario[] = [getOneKilobyte, inboundGetOneKilobyte];

function head(firstLine: string, fields: readonly string[]): string {
  return `${[firstLine, ...fields].join('\r\n')}\r\n\r\n`;
}
