import type { Call } from '../intercept/call.ts';
import type { CallEnd } from '../record/call-events.ts';
import type { Admitted } from '../record/admit.ts';
import { Refusal } from '../refusal.ts';
import type { HandleBook } from '../tasks/handle.ts';
import { Relay, type RelayEnd } from './relay.ts';
import type { Upstreams } from './upstream.ts';

/** What a send came to. A challenge has not reached the agent: the call goes back to `bind` (nonce) or `exchange` (token). */
export type Forwarded =
  | { readonly kind: 'ended'; readonly end: CallEnd }
  | { readonly kind: 'challenged'; readonly by: 'nonce' | 'token'; readonly end: CallEnd }
  | { readonly kind: 'refused'; readonly refusal: Refusal; readonly end: CallEnd };

/** Port: keeps what tools send in `DPoP-Nonce`, by origin. */
export interface NonceKeeper {
  keep(origin: string, nonce: string): void;
}

/** What forwarding needs: connections, the tools' nonces, and the handles that must not leave. */
export interface Road {
  readonly upstreams: Upstreams;
  readonly nonces: NonceKeeper;
  readonly handles: HandleBook;
  /** Our name in `Via`, by which a loop is found. */
  readonly pseudonym: string;
}

/** Forwards an admitted call, once. Resolves when the answer has ended; never rejects for what the tool or the agent does. */
export function forward(admitted: Admitted, road: Road): Promise<Forwarded> {
  const bound = admitted.spend();
  const { routed, held } = bound.credential;
  const { call, errand } = routed.permit.attributed;
  const upstream = road.upstreams.take(call.tool, call.target.origin, routed.way);
  const bytesIn = routed.body.length ?? 0;
  return new Promise((resolve) => {
    const relay = new Relay(call, {
      onNonce: (nonce) => {
        if (held !== undefined) road.nonces.keep(held.order.toolOrigin, nonce);
      },
      onEnd: (end) => {
        if (slot !== undefined) errand?.task.letGo(slot);
        if (end.kind === 'failed' || (end.kind === 'answered' && end.outcome !== 'ok')) upstream.discard();
        else upstream.release();
        resolve(forwardedOf(end, bytesIn));
      },
    });
    const slot = errand?.task.holdOpen(relay);
    if (call.response.destroyed) relay.stop('aborted');
    else if (errand !== undefined && errand.task.state !== 'open') relay.stop('cut');
    upstream.client.dispatch(
      {
        method: call.method,
        path: call.target.path,
        headers: headersFor(call, bound.revealInjected(), routed.body.length, road),
        body: routed.body.content ?? null,
      },
      relay,
    );
  });
}

function forwardedOf(end: RelayEnd, bytesIn: number): Forwarded {
  switch (end.kind) {
    case 'answered':
      return { kind: 'ended', end: { status: end.status, outcome: end.outcome, bytesIn, bytesOut: end.bytesOut } };
    case 'challenged':
      return {
        kind: 'challenged',
        by: end.by,
        end: { status: end.status, outcome: 'upstream_error', bytesIn, bytesOut: 0 },
      };
    default: {
      const refusal = refusalOf(end.error);
      return {
        kind: 'refused',
        refusal,
        end: { status: refusal.kind.status, outcome: 'upstream_error', bytesIn, bytesOut: 0 },
      };
    }
  }
}

/** The one place that puts together what leaves: Host of the target, the agent's own end-to-end headers, then what we inject. */
function headersFor(call: Call, injected: readonly string[], length: number | undefined, road: Road): string[] {
  const { headers, tool } = call;
  const out: string[] = ['Host', call.target.origin.authority, ...headers.forward];
  if (!tool.credentialed) {
    out.push(...headers.cookies);
    // The agent's own keys go on to tools that get none of ours; a handle never does.
    for (let at = 0; at < headers.credentials.length; at += 2) {
      const value = headers.credentials[at + 1] ?? '';
      if (!road.handles.carries(value)) out.push(headers.credentials[at] ?? '', value);
    }
  }
  if (length !== undefined && (length > 0 || headers.contentLength !== undefined))
    out.push('Content-Length', String(length));
  out.push('Via', headers.via === undefined ? `1.1 ${road.pseudonym}` : `${headers.via}, 1.1 ${road.pseudonym}`);
  out.push(...injected);
  return out;
}

const tlsCodes = /^(?:ERR_TLS|ERR_SSL|CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|EPROTO|HOSTNAME_MISMATCH)/;

function refusalOf(error: Error): Refusal {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  return new Refusal(tlsCodes.test(code) ? 'upstream_tls' : 'upstream_unreachable');
}
