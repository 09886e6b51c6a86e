import type { Dispatcher } from 'undici';
import type { Call } from '../intercept/call.ts';
import { readReplyHeaders } from './reply-headers.ts';
import type { Lease } from './upstream.ts';

/** How long a tool may take to answer a probe, milliseconds: the call behind it waits. */
const probeMs = 5000;

/** What a probe found. Status 0: no answer. */
export interface Probed {
  readonly status: number;
  readonly nonce: string | undefined;
}

/**
 * Asks a tool for its DPoP nonce by a HEAD without credential, on the connection that the call will use. For bodies that cannot be
 * sent twice: with them, the challenge would come when it is too late (DESIGN 7).
 */
export function probeNonce(call: Call, lease: Lease, pseudonym: string): Promise<Probed> {
  const { promise, resolve } = Promise.withResolvers<Probed>();
  let found: Probed = { status: 0, nonce: undefined };
  let abort: (() => void) | undefined;
  const timer = setTimeout(() => abort?.(), probeMs);
  const finish = (): void => {
    clearTimeout(timer);
    resolve(found);
  };
  const handler: Dispatcher.DispatchHandler = {
    onRequestStart(controller) {
      abort = () => controller.abort(new Error('the probe took too long'));
    },
    onResponseStart(controller, status) {
      if (status < 200) return;
      const raw = Array.isArray(controller.rawHeaders) ? controller.rawHeaders : [];
      found = { status, nonce: readReplyHeaders(raw, false).nonce };
    },
    onResponseData() {},
    onResponseEnd: finish,
    onResponseError() {
      lease.spoil();
      finish();
    },
  };
  const { authority } = call.target.origin;
  const headers = ['Host', authority, 'Via', `1.1 ${pseudonym}`];
  // Undici closes after a HEAD, since some servers send a body; then the nonce would be that of a connection that is gone.
  lease.client().dispatch({ method: 'HEAD', path: call.target.path, headers, reset: false }, handler);
  return promise;
}
