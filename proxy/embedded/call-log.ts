import type { IncomingMessage } from 'node:http';

/** One request that reached the service. No token, secret or assertion is in it. */
export interface ServiceCall {
  /** Milliseconds since the epoch, when it arrived. */
  readonly at: number;
  readonly endpoint: Endpoint;
  /** `grant_type` of a token request, as sent. */
  readonly grant?: string;
  /** Set once the client was authenticated. */
  clientId?: string;
  /** HTTP status; 0 while it is being answered. */
  status: number;
  /** OAuth error code of the answer. */
  error?: string;
}

/** What a request was for; `metadata` is discovery and keys. */
export type Endpoint = 'token' | 'introspection' | 'revocation' | 'metadata' | 'other';

/** How many requests arrived since the start, granted or refused. */
export interface CallCounters {
  /** All of them, discovery and keys included. */
  readonly requests: number;
  /** Token requests of the token-exchange grant. */
  readonly exchanges: number;
  readonly clientCredentials: number;
  readonly introspections: number;
  readonly revocations: number;
}

const keptCalls = 10_000;

/** Counts and lists the requests; the list is bounded, the counters are not. */
export class CallLog {
  readonly #calls: ServiceCall[] = [];
  readonly #byRequest = new WeakMap<IncomingMessage, ServiceCall>();
  readonly #counters = { requests: 0, exchanges: 0, clientCredentials: 0, introspections: 0, revocations: 0 };

  get calls(): readonly ServiceCall[] {
    return this.#calls;
  }

  get counters(): CallCounters {
    return { ...this.#counters };
  }

  /** Notes an arrival. `request` is the one that the provider will see, so that its outcome finds its line. */
  begin(request: IncomingMessage, at: number, endpoint: Endpoint, grant: string | undefined): ServiceCall {
    const call: ServiceCall = { at, endpoint, status: 0, ...(grant === undefined ? {} : { grant }) };
    this.#counters.requests += 1;
    if (endpoint === 'introspection') this.#counters.introspections += 1;
    if (endpoint === 'revocation') this.#counters.revocations += 1;
    if (grant === 'client_credentials') this.#counters.clientCredentials += 1;
    if (grant?.endsWith(':token-exchange') === true) this.#counters.exchanges += 1;
    this.#calls.push(call);
    // A load test makes more calls than a list should hold.
    if (this.#calls.length > keptCalls) this.#calls.shift();
    this.#byRequest.set(request, call);
    return call;
  }

  /** Fills in how a request ended. */
  end(
    request: IncomingMessage,
    outcome: { status: number; clientId: string | undefined; error: string | undefined },
  ): void {
    const call = this.#byRequest.get(request);
    if (call === undefined) return;
    call.status = outcome.status;
    if (outcome.clientId !== undefined) call.clientId = outcome.clientId;
    if (outcome.error !== undefined) call.error = outcome.error;
  }
}
