import { InvalidEndpointSocket } from './endpoint-socket.ts';
import { IdentityUnavailable, type UnavailableReason } from './identity-unavailable.ts';
import { openWorkloadApi, type WorkloadApi, type WorkloadApiEvent } from './workload-api.ts';

export interface ConnectOptions {
  /** By default what SPIFFE_ENDPOINT_SOCKET says. */
  readonly address?: string;
  /** The operator's name for the SVID to use where several are granted; by default the first. */
  readonly hint?: string;
  /** How long to wait for the first SVID; 10 s. */
  readonly timeoutMs?: number;
  /** Hears of every change, after it is in force. Must not throw. */
  readonly onEvent?: (event: WorkloadApiEvent) => void;
}

const usualMs = 10_000;

/**
 * Connects to the SPIFFE Workload API and waits for an X509-SVID and the bundles. It stays connected, and fresh, until `close()`. Throws
 * InvalidEndpointSocket; rejects with IdentityUnavailable, which says what the agent answered last.
 */
export async function connectWorkloadApi(options: ConnectOptions = {}): Promise<WorkloadApi> {
  const { address = addressOfEnvironment(), hint, timeoutMs = usualMs, onEvent } = options;
  const ready = Promise.withResolvers<void>();
  let last: UnavailableReason = 'timeout';
  const api = openWorkloadApi({
    address,
    ...(hint === undefined ? {} : { hint }),
    now: Date.now,
    onEvent: (event) => {
      if (event.kind === 'error') last = event.reason;
      if (api.x509() !== undefined && api.x509Bundles().size > 0) ready.resolve();
      onEvent?.(event);
    },
  });
  const patience = setTimeout(() => ready.reject(new IdentityUnavailable(last)), timeoutMs);
  try {
    await ready.promise;
    return api;
  } catch (error) {
    api.close();
    throw error;
  } finally {
    clearTimeout(patience);
  }
}

/** An empty variable is an unset one. */
function addressOfEnvironment(): string {
  const address = process.env['SPIFFE_ENDPOINT_SOCKET'];
  if (address === undefined || address === '')
    throw new InvalidEndpointSocket('SPIFFE_ENDPOINT_SOCKET is not set, and no address of a Workload API was given');
  return address;
}
