import { STATUS_CODES, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type Refusal, retryAfterSeconds } from '../refusal.ts';
import type { RefusalCode } from '../refusal-kinds.ts';
import { collectBytes } from './body.ts';
import type { Arrival } from './call.ts';
import { keepBehind, sayLast } from './owed-answers.ts';
import { awaitAnother } from './stop.ts';

/** The answer to a refused call: problem+json (RFC 9457) and Proxy-Status (RFC 9209), flat header array as node:http takes it. */
export interface Answer {
  readonly status: number;
  readonly headers: string[];
  readonly body: string;
}

const proxyStatusErrors: Partial<Record<RefusalCode, string>> = {
  message_malformed: 'http_request_error',
  body_too_large: 'http_request_error',
  proxy_loop: 'proxy_loop_detected',
  address_forbidden: 'destination_ip_prohibited',
  upstream_unreachable: 'destination_unavailable',
  upstream_tls: 'tls_certificate_error',
  internal_fault: 'proxy_internal_error',
};

/**
 * Renders a refusal. `throughProxy` decides which challenge an unknown task gets: clients such as git send credentials only when asked,
 * and only by the right status (407 by the proxy, 401 on mounts and inside tunnels, where 407 is a network error to fetch).
 */
export function renderRefusal(refusal: Refusal, callId: string, throughProxy: boolean): Answer {
  return renderAs(refusal, callId, refusal.code === 'task_unknown' && throughProxy ? 407 : refusal.kind.status);
}

/** The same with a status of the way in's own. */
export function renderAs(refusal: Refusal, callId: string, status: number): Answer {
  const { code, kind } = refusal;
  const body = JSON.stringify({
    type: `https://waybill.dev/refusals/${code}`,
    title: kind.title,
    status,
    code,
    detail: refusal.detail,
    event: callId,
    hint: refusal.hint,
    retryable: refusal.retryable,
  });
  const headers = [
    'Content-Type',
    'application/problem+json',
    'Cache-Control',
    'no-store',
    'Content-Length',
    String(Buffer.byteLength(body)),
  ];
  const error = proxyStatusErrors[code] ?? (status < 500 ? 'http_request_denied' : 'proxy_internal_response');
  headers.push('Proxy-Status', `waybill; error=${error}; details="${code}"`);
  if (code === 'task_unknown')
    headers.push(status === 407 ? 'Proxy-Authenticate' : 'WWW-Authenticate', 'Basic realm="waybill", charset="UTF-8"');
  if (refusal.retryable && status === 503) headers.push('Retry-After', String(refusal.retryAfter ?? retryAfterSeconds));
  return { status, headers, body };
}

/** Answers a refused request, or cuts the connection where an answer has already begun. */
export function answerRefusal(arrival: Arrival, refusal: Refusal, answer: Answer): void {
  const { request, response } = arrival;
  noteJudged(arrival, false);
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  // A body that was not read stays in the connection and could be read as the next request: such a connection ends here.
  const isLeft = leavesBody(arrival);
  if (refusal.code === 'message_malformed' || isLeft) answer.headers.push('Connection', 'close');
  else if (answer.status === 401) awaitAnother(response);
  // Nobody can tell where the next request would begin, so nothing behind it is one.
  if (refusal.code === 'message_malformed') ending.add(request.socket);
  // Always with a phrase of its own: that of an answer which could not be passed on may still stand in the response.
  response.writeHead(answer.status, reasonOf(answer), answer.headers);
  if (isLeft && refusal.code !== 'message_malformed') endAfterBody(arrival, answer.body);
  else response.end(request.method === 'HEAD' ? undefined : answer.body);
}

/** How long the rest of a refused upload is taken and thrown away, milliseconds. */
const lingerMs = 2000;
const ending = new WeakSet<Socket>();
const broken = new WeakSet<Socket>();
const closing = new WeakSet<Socket>();

/** A request whose body still comes, and which is in the record already. */
interface Judged {
  readonly request: IncomingMessage;
  /** Names it in the record. */
  readonly id: string;
  /** Else it was refused. */
  readonly isAdmitted: boolean;
}
const judged = new WeakMap<Socket, Judged>();

/** Says that a request was admitted or refused, which is recorded: what becomes of the rest of its body is no other request. */
export function noteJudged({ request, id }: Arrival, isAdmitted: boolean): void {
  if (!request.complete) judged.set(request.socket, { request, id, isAdmitted });
}

/** The request of which a connection is in the middle, where it is in the record already. Until it is all there, none follows it. */
export function judgedOn(socket: Socket): Judged | undefined {
  const known = judged.get(socket);
  return known?.request.complete === false ? known : undefined;
}

/** Says that the parser lost its way on a connection, and that this was answered, counted and recorded. */
export function markBroken(socket: Socket): void {
  broken.add(socket);
}

/**
 * Whether a request was refused by the parser already, which answered, counted and recorded it: whatever else is wrong with it, it is one
 * refusal. A request that was whole before the parser lost its way has a reason of its own.
 */
export function isToldAlready({ request }: Arrival, refusal: Refusal): boolean {
  return broken.has(request.socket) && (refusal.code === 'message_malformed' || !request.complete);
}

/** Whether a connection ends with the answer that is on its way: what follows on it is no request any more (RFC 9112 9.6). */
export function isEnding(socket: Socket): boolean {
  return ending.has(socket);
}

/** A connection that is closed while the agent still sends is reset, and the reset can overtake the answer that says why. */
function endAfterBody({ request, response }: Arrival, body: string): void {
  ending.add(request.socket);
  response.flushHeaders();
  response.write(body);
  const end = (): void => {
    clearTimeout(timer);
    response.end();
  };
  const timer = setTimeout(end, lingerMs);
  request.once('end', end).once('close', end).resume();
}

/** Whether a connection ends by `endBehind`, whatever else comes on it. */
export function isClosing(socket: Socket): boolean {
  return closing.has(socket);
}

/** The answer that is under way reaches its caller whole. Nothing else is begun on its connection, which ends behind it. */
export function endBehind(owed: ServerResponse, socket: Socket, last: string): void {
  ending.add(socket);
  closing.add(socket);
  // Of one without a length the end of the connection is the end: what followed would be read as a part of it.
  const isLast = keepBehind(owed);
  sayLast(owed);
  owed.once('close', () => endGently(socket, isLast ? '' : last));
}

/** Ends a connection, and reads on for a moment: a reset, which bytes that nobody read make, overtakes what was said. */
function endGently(socket: Socket, last: string): void {
  if (!socket.writable) return;
  // Behind its last byte, which a slow client may take its time for.
  socket.end(last, () => {
    const timer = setTimeout(() => socket.destroy(), lingerMs);
    socket.once('close', () => clearTimeout(timer));
  });
}

function leavesBody(arrival: Arrival): boolean {
  const { headers, complete } = arrival.request;
  if (complete) return false;
  if (headers['transfer-encoding'] !== undefined) return true;
  // What declares none has none (RFC 9112 6.3), whatever it expects: its end is not told, and would be waited for in vain.
  const length = Number(headers['content-length'] ?? 0);
  return length > collectBytes || (length > 0 && headers['expect'] !== undefined);
}

/** The same answer as bytes, for connections that have no response object: broken requests and CONNECT. */
export function refusalBytes(answer: Answer, close: boolean): string {
  const lines = [`HTTP/1.1 ${answer.status} ${reasonOf(answer)}`];
  for (let at = 0; at < answer.headers.length; at += 2) lines.push(`${answer.headers[at]}: ${answer.headers[at + 1]}`);
  lines.push(`Connection: ${close ? 'close' : 'keep-alive'}`);
  return `${lines.join('\r\n')}\r\n\r\n${answer.body}`;
}

function reasonOf({ status }: Answer): string {
  return STATUS_CODES[status] ?? 'Refused';
}
