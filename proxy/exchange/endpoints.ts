import { isIP } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { callbackify } from 'node:util';
import { Agent, errors, request, type buildConnector } from 'undici';
import { EndpointFault, type EndpointCall } from './endpoint.ts';
import { retryDocuments } from './retry.ts';
import type { World } from '../world.ts';
import type { Destination, Way } from '../route/egress-guard.ts';

/** Port: finds the checked address of a destination (the egress guard). */
export interface FindWay {
  find(destination: Destination): Way | Promise<Way>;
}

/** Token services are named by the operator, so they may stand anywhere but where nothing of ours may go. */
const addresses = ['public', 'private', 'loopback'] as const;

/** Calls to token services and issuers, dialled through the egress guard (W5). */
export interface Endpoints {
  readonly call: EndpointCall;
  close(): Promise<void>;
}

/** Opens the adapter. No redirect is followed: it would carry a client secret or a subject token to another place. */
export function openEndpoints(guard: FindWay, world: World): Endpoints {
  const agent = new Agent({
    connect: connector(guard, world),
    allowH2: false,
    connections: 64,
    keepAliveTimeout: 10_000,
  });
  const call: EndpointCall = async (url, init) => {
    // One limit over everything: connecting, waiting, and a body that trickles.
    const abort = new AbortController();
    const { signal } = abort;
    // What has arrived by then is read first: where our own loop was busy, the service is not late.
    const timer = setTimeout(() => setImmediate(() => abort.abort()), init.timeoutMs);
    let began = false;
    try {
      const reply = await request(url, {
        method: init.method,
        headers: init.headers,
        ...(init.body === undefined ? {} : { body: init.body }),
        dispatcher: agent,
        signal,
      });
      began = true;
      const body = await readLimited(reply.body, init.maxBytes);
      return { status: reply.statusCode, headers: flattened(reply.headers), body };
    } catch (error) {
      if (error instanceof EndpointFault) throw error;
      throw new EndpointFault(signal.aborted ? 'timeout' : began || isUnreadable(error) ? 'cut' : 'unreachable');
    } finally {
      clearTimeout(timer);
    }
  };
  return { call: retryDocuments(call, world), close: () => agent.destroy() };
}

/** The guard is asked at every dial, so that a name that moves is checked where it went. */
function connector(guard: FindWay, world: World): buildConnector.connector {
  const connect = callbackify((options: buildConnector.Options) => dial(options, guard, world));
  return (options, done) =>
    connect(options, (error, socket) => (error === null ? done(null, socket) : done(error, null)));
}

async function dial(options: buildConnector.Options, guard: FindWay, world: World) {
  const secure = options.protocol === 'https:';
  const host = options.hostname.replace(/^\[(.*)\]$/, '$1');
  const port = options.port === '' ? (secure ? 443 : 80) : Number(options.port);
  const way = await guard.find({ host, port, addresses, dial: undefined });
  const socket = world.dial(way.address, way.port);
  const connection = secure
    ? connectTls({
        socket,
        host,
        ...(isIP(host) === 0 ? { servername: host } : {}),
        ALPNProtocols: ['http/1.1'],
        minVersion: 'TLSv1.2',
      })
    : socket;
  await new Promise<void>((resolve, reject) => {
    connection.once('error', reject);
    connection.once(secure ? 'secureConnect' : 'connect', () => {
      connection.removeListener('error', reject);
      resolve();
    });
  });
  return connection;
}

/** Whether something came that is no head of an answer: somebody is there, and a request may have done what it asks for. */
function isUnreadable(error: unknown): boolean {
  if (error instanceof errors.SocketError) return false;
  return error instanceof errors.HTTPParserError || error instanceof errors.UndiciError;
}

async function readLimited(body: AsyncIterable<Buffer> & { destroy(): unknown }, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > maxBytes) {
      body.destroy();
      throw new EndpointFault('oversize');
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function flattened(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [
      name.toLowerCase(),
      Array.isArray(value) ? value.join(', ') : value,
    ]),
  );
}
