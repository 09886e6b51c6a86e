import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

/** An answer, read whole. Header names are lower case; of repeated ones the last. */
export interface RawAnswer {
  readonly status: number;
  readonly headers: Record<string, string>;
  /** Header lines as they came. */
  readonly lines: readonly string[];
  readonly body: string;
  /** Member `code` of a problem+json body. */
  readonly code: string | undefined;
}

/** Calls through the forward proxy with an absolute-form target, on a connection of its own. */
export function callThrough(
  outbound: string,
  url: string,
  options: { method?: string; headers?: Record<string, string>; body?: string | Buffer; handle?: string } = {},
): Promise<RawAnswer> {
  const target = new URL(url);
  const headers: Record<string, string> = { Host: target.host, ...options.headers };
  if (options.handle !== undefined) headers['Proxy-Authorization'] = basic(options.handle);
  if (options.body !== undefined) headers['Content-Length'] = String(Buffer.byteLength(options.body));
  return exchangeRaw(outbound, requestBytes(options.method ?? 'GET', url, headers, options.body));
}

export function basic(handle: string): string {
  return `Basic ${Buffer.from(`task:${handle}`).toString('base64')}`;
}

export function requestBytes(
  method: string,
  target: string,
  headers: Record<string, string>,
  body?: string | Buffer,
): Buffer {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.concat([
    Buffer.from(`${method} ${target} HTTP/1.1\r\n${lines.join('')}\r\n`, 'latin1'),
    Buffer.from(body ?? ''),
  ]);
}

/** Sends bytes on a new connection and reads one answer. */
export async function exchangeRaw(address: string, bytes: Buffer, timeoutMs = 10_000): Promise<RawAnswer> {
  const socket = dial(address);
  try {
    return await exchangeOn(socket, bytes, timeoutMs);
  } finally {
    socket.destroy();
  }
}

export function dial(address: string): Socket {
  const at = address.lastIndexOf(':');
  const socket = connect(Number(address.slice(at + 1)), address.slice(0, at).replace(/^\[|\]$/g, ''));
  socket.on('error', () => undefined);
  return socket;
}

/** Sends bytes on an open connection and reads one answer from it. Rejects when it ends before the answer is whole. */
export function exchangeOn(socket: Socket, bytes: Buffer, timeoutMs = 10_000): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    let read = Buffer.alloc(0);
    const finish = (answer: RawAnswer | undefined, why: string): void => {
      clearTimeout(timer);
      socket.off('data', onData).off('close', onClose);
      if (answer === undefined) reject(new Error(`${why}: ${read.toString('latin1').slice(0, 300)}`));
      else resolve(answer);
    };
    const onData = (chunk: Buffer): void => {
      read = Buffer.concat([read, chunk]);
      const answer = parseAnswer(read, false);
      if (answer !== undefined) finish(answer, '');
    };
    const onClose = (): void => finish(parseAnswer(read, true), 'the connection was closed');
    const timer = setTimeout(() => finish(undefined, 'no answer in time'), timeoutMs);
    socket.on('data', onData).on('close', onClose);
    socket.write(bytes);
  });
}

function parseAnswer(read: Buffer, ended: boolean): RawAnswer | undefined {
  const end = read.indexOf('\r\n\r\n');
  if (end === -1) return undefined;
  const [first = '', ...lines] = read.toString('latin1', 0, end).split('\r\n');
  const status = Number(first.split(' ')[1]);
  if (status >= 100 && status < 200 && status !== 101) return parseAnswer(read.subarray(end + 4), ended);
  const headers: Record<string, string> = {};
  for (const line of lines)
    headers[line.slice(0, line.indexOf(':')).toLowerCase()] = line.slice(line.indexOf(':') + 1).trim();
  const rest = read.subarray(end + 4);
  const length = headers['content-length'];
  const body =
    headers['transfer-encoding'] === 'chunked'
      ? unchunk(rest)
      : length === undefined
        ? ended || status === 200
          ? rest
          : rest
        : rest.length >= Number(length)
          ? rest.subarray(0, Number(length))
          : undefined;
  if (body === undefined) return undefined;
  const text = body.toString('utf8');
  return { status, headers, lines, body: text, code: codeOf(headers['content-type'], text) };
}

function unchunk(rest: Buffer): Buffer | undefined {
  const parts: Buffer[] = [];
  let at = 0;
  for (;;) {
    const end = rest.indexOf('\r\n', at);
    if (end === -1) return undefined;
    const size = Number.parseInt(rest.toString('latin1', at, end), 16);
    if (rest.length < end + 2 + size + 2) return undefined;
    if (size === 0) return Buffer.concat(parts);
    parts.push(rest.subarray(end + 2, end + 2 + size));
    at = end + 2 + size + 2;
  }
}

function codeOf(type: string | undefined, text: string): string | undefined {
  if (type !== 'application/problem+json') return undefined;
  return (JSON.parse(text) as { code?: string }).code;
}

/** Opens a CONNECT tunnel; with `tls`, a TLS connection inside it. Rejects with the answer's status where it is refused. */
export async function openTunnel(
  outbound: string,
  target: string,
  options: {
    handle?: string;
    headers?: Record<string, string>;
    tls?: { ca: string; serverName: string | undefined; insecure?: boolean };
  } = {},
): Promise<Socket> {
  const socket = dial(outbound);
  const headers: Record<string, string> = { Host: target, ...options.headers };
  if (options.handle !== undefined) headers['Proxy-Authorization'] = basic(options.handle);
  const answer = await exchangeOn(socket, requestBytes('CONNECT', target, headers));
  if (answer.status !== 200) {
    socket.destroy();
    throw Object.assign(new Error(`CONNECT was refused: ${answer.status} ${answer.code}`), { answer });
  }
  if (options.tls === undefined) return socket;
  const { ca, serverName, insecure } = options.tls;
  const inner = connectTls({
    socket,
    ca,
    rejectUnauthorized: insecure !== true,
    ...(serverName === undefined ? { checkServerIdentity: () => undefined } : { servername: serverName }),
    ALPNProtocols: ['http/1.1'],
  });
  await new Promise<void>((resolve, reject) => {
    inner.once('secureConnect', resolve);
    inner.once('error', reject);
  });
  inner.on('error', () => undefined);
  return inner;
}
