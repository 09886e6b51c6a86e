import { errors, request } from 'undici';
import { EndpointFault, type EndpointCall } from './endpoint.ts';
import { EndpointConnections, type FindWay, type PrivateAuthorities } from './endpoint-connections.ts';
import { isUnwell, type TellTrouble, troubleCode } from './endpoint-trouble.ts';
import { onceAMinute } from '../once-a-minute.ts';
import { retryDocuments } from './retry.ts';
import type { VouchedBy } from '../trust/jwks.ts';
import type { World } from '../world.ts';

/** Calls to token services and issuers, dialled through the egress guard (W5). */
export interface Endpoints {
  readonly call: EndpointCall;
  /** For documents that are kept: those of before are not believed under other authorities. */
  readonly vouchedBy: VouchedBy;
  /** Takes the authorities of another configuration. */
  adopt(authorities: PrivateAuthorities): void;
  close(): Promise<void>;
}

/**
 * Opens the adapter. No redirect is followed: it would carry a client secret or a subject token to another place.
 * @param tell hears why there was no answer, the same at most once a minute: callers are told only that there was none.
 */
export function openEndpoints(
  guard: FindWay,
  world: World,
  authorities: PrivateAuthorities,
  tell: TellTrouble,
): Endpoints {
  const connections = new EndpointConnections(guard, world, authorities);
  const tellOnce = onceAMinute(world, tell);
  let closed = false;
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
        dispatcher: connections.agentFor(init.certificate),
        signal,
      });
      began = true;
      const body = await readLimited(reply.body, init.maxBytes);
      if (isUnwell(reply.statusCode)) {
        tellOnce({ origin: url.origin, reason: 'status', code: String(reply.statusCode) });
      }
      return { status: reply.statusCode, headers: flattened(reply.headers), body };
    } catch (error) {
      const fault = error instanceof EndpointFault ? error : faultOf(error, began, signal);
      const code = fault.reason === 'timeout' ? undefined : troubleCode(error);
      // What we cut ourselves says nothing of anybody.
      if (!closed) tellOnce({ origin: url.origin, reason: fault.reason, code });
      throw fault;
    } finally {
      clearTimeout(timer);
    }
  };
  return {
    call: retryDocuments(call, world),
    vouchedBy: (url) => connections.vouchedBy(url),
    adopt: (others) => connections.adopt(others),
    close() {
      closed = true;
      return connections.close();
    },
  };
}

function faultOf(error: unknown, began: boolean, { aborted }: AbortSignal): EndpointFault {
  return new EndpointFault(aborted ? 'timeout' : began || isUnreadable(error) ? 'cut' : 'unreachable');
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
