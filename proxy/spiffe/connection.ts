import {
  Client,
  connectivityState,
  credentials,
  Metadata,
  status,
  type ClientReadableStream,
  type ClientUnaryCall,
  type MethodDefinition,
  type ServiceError,
} from '@grpc/grpc-js';
import { grpcTarget, type EndpointSocket } from './endpoint-socket.ts';
import { IdentityUnavailable, type UnavailableReason } from './identity-unavailable.ts';
import { securityHeader, type EmptyRequest } from './service-definition.ts';

const channelOptions = {
  // HTTP_PROXY of the environment may well be this sidecar itself; the Workload API is always spoken to directly.
  'grpc.enable_http_proxy': 0,
  // Retries are made by us, visibly, with the back-off that the standard's error codes ask for.
  'grpc.enable_retries': 0,
  // A shared pool would hand the back-off of an old channel to a new one.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.service_config_disable_resolution': 1,
};

/** A call failed: what it means for us, and the agent's own words for the operator's log (never for callers). */
export interface CallFailure {
  readonly reason: UnavailableReason;
  readonly detail: string;
}

/**
 * The connection to one Workload API. grpc-js keeps dialling a dead address by its own clock; here a failed channel is thrown away,
 * so that the next dial happens exactly when the next call is made.
 */
export class Connection {
  readonly #target: string;
  readonly #calls = new Set<ClientUnaryCall>();
  #client: Client | undefined;
  #closed = false;

  constructor(socket: EndpointSocket) {
    this.#target = grpcTarget(socket);
  }

  /** Opens a stream. Its `status` event tells the end, whatever it was. */
  openStream<Response>(method: MethodDefinition<EmptyRequest, Response>): ClientReadableStream<Response> {
    const { path, requestSerialize, responseDeserialize } = method;
    return this.#current().makeServerStreamRequest(path, requestSerialize, responseDeserialize, {}, callMetadata());
  }

  /** Makes one call and rejects with IdentityUnavailable; `onFailure` hears the details that the error does not carry. */
  call<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    timeoutMs: number,
    onFailure: (failure: CallFailure) => void,
  ): Promise<Response> {
    const { path, requestSerialize, responseDeserialize } = method;
    const { promise, resolve, reject } = Promise.withResolvers<Response>();
    let timedOut = false;
    const ended = (error: ServiceError | null, response?: Response) => {
      clearTimeout(timer);
      this.#calls.delete(call);
      if (error === null && response !== undefined) return resolve(response);
      this.dropIfDead();
      if (this.#closed) return reject(new IdentityUnavailable('closed'));
      const known = explain(error?.code ?? status.UNKNOWN, error?.details ?? '');
      const failure = timedOut ? { reason: 'timeout' as const, detail: `no answer in ${timeoutMs} ms` } : known;
      onFailure(failure);
      return reject(new IdentityUnavailable(failure.reason));
    };
    // `ended` is never called before the next turn of the loop, so it may name what is made below.
    const client = this.#current();
    const call = client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, callMetadata(), ended);
    this.#calls.add(call);
    // A timer and not a wall-clock deadline: a clock that is set while we wait must neither end the call nor prolong it.
    const timer = setTimeout(() => {
      timedOut = true;
      call.cancel();
    }, timeoutMs);
    return promise;
  }

  /** To be called when a call has failed: stops grpc-js from dialling on its own. */
  dropIfDead(): void {
    if (this.#client?.getChannel().getConnectivityState(false) === connectivityState.TRANSIENT_FAILURE) this.drop();
  }

  /** The next call dials anew. */
  drop(): void {
    this.#client?.close();
    this.#client = undefined;
  }

  /** Ends calls and channel; streams have to be cancelled by those who opened them. */
  close(): void {
    this.#closed = true;
    for (const call of this.#calls) call.cancel();
    this.drop();
  }

  #current(): Client {
    this.#client ??= new Client(this.#target, credentials.createInsecure(), channelOptions);
    return this.#client;
  }
}

/** Translates a gRPC status (Workload API, section 5). Any code that is not named there is a failure of the agent. */
export function explain(code: status, details: string): CallFailure {
  // The agent's words are for a log line: bounded, and without line breaks that could forge a second one.
  const words = details.replaceAll(/[^\x20-\x7e]+/g, ' ').slice(0, 200);
  return { reason: reasons[code] ?? 'unavailable', detail: `${status[code] ?? code}: ${words}` };
}

const reasons: Partial<Record<status, UnavailableReason>> = {
  [status.PERMISSION_DENIED]: 'denied',
  [status.INVALID_ARGUMENT]: 'rejected',
  [status.UNIMPLEMENTED]: 'unsupported',
  [status.DEADLINE_EXCEEDED]: 'timeout',
};

/** Made anew for each call: grpc-js adds to the object it is given. */
function callMetadata(): Metadata {
  const metadata = new Metadata();
  metadata.set(securityHeader.name, securityHeader.value);
  return metadata;
}
