import type { MethodDefinition } from '@grpc/grpc-js';
import { parseJwtBundles, parseX509Bundles, type JwtAuthority } from './bundles.ts';
import { Connection, type CallFailure } from './connection.ts';
import { parseEndpointSocket } from './endpoint-socket.ts';
import { HeldBundles, type BundleEvent } from './held-bundles.ts';
import { HeldRevocations, type RevocationEvent } from './held-revocations.ts';
import { HeldStream } from './held-stream.ts';
import { HeldSvids, type SvidEvent } from './held-svids.ts';
import { EndedAnswer, IdentityUnavailable, MalformedAnswer, type UnavailableReason } from './identity-unavailable.ts';
import { JwtSvidCache } from './jwt-svid-cache.ts';
import { JwtSvid } from './jwt-svid.ts';
import { parseRevocationLists, type RevocationList } from './revocation-list.ts';
import {
  workloadApiService,
  type EmptyRequest,
  type JwtSvidResponse,
  type WorkloadApiService,
} from './service-definition.ts';
import type { SpiffeId } from './spiffe-id.ts';
import type { X509Bundle } from './x509-path.ts';
import type { X509Context } from './x509-svid.ts';

/** A call failed or an answer was ignored. `detail` may hold the agent's words, bounded: for the operator's log, never for callers. */
export interface FailureEvent {
  readonly kind: 'error';
  readonly method: keyof WorkloadApiService;
  readonly reason: UnavailableReason;
  readonly detail: string;
  /** When the stream is opened again; absent for a single call and for an ignored message of a stream that stands. */
  readonly retryInMs?: number;
}

/** What happens to the identity; no event holds a key or a token. */
export type WorkloadApiEvent = SvidEvent | BundleEvent | RevocationEvent | FailureEvent;

export interface WorkloadApiOptions {
  /** A SPIFFE_ENDPOINT_SOCKET value: `unix:///run/spire/agent.sock` or `tcp://127.0.0.1:8000`. */
  readonly address: string;
  /** The operator's name for the identity to use where several are granted; without it the first. One that is not there is no identity. */
  readonly hint?: string;
  /** Wall clock, milliseconds since the epoch. */
  readonly now: () => number;
  /** Hears of every change, after it is in force. Must not throw. */
  readonly onEvent: (event: WorkloadApiEvent) => void;
}

const defaultTimeoutMs = 2000;

/** The bundles of a moment, and what they were made of. */
interface Joined {
  readonly authorities: ReadonlyMap<string, readonly Buffer[]>;
  readonly revocations: readonly RevocationList[];
  readonly bundles: ReadonlyMap<string, X509Bundle>;
}

/** A stream, whatever its messages are. */
type StandingStream = Pick<HeldStream<unknown>, 'hurry' | 'renew' | 'close'>;

/** Opens the client and its streams; throws InvalidEndpointSocket. An agent that is not there yet is waited for, not an error. */
export function openWorkloadApi(options: WorkloadApiOptions): WorkloadApi {
  return new WorkloadApi(options);
}

/**
 * The identity of this workload, kept fresh from the SPIFFE Workload API. Every getter gives the state of this moment: what was
 * denied, taken back or has expired is not there. While the agent is away, what it gave is used until it expires, a JWT-SVID no
 * longer than the X509-SVID beside it.
 */
export class WorkloadApi {
  readonly #connection: Connection;
  readonly #now: () => number;
  readonly #hint: string | undefined;
  readonly #onEvent: WorkloadApiOptions['onEvent'];
  readonly #svids: HeldSvids;
  readonly #x509Bundles: HeldBundles<readonly Buffer[]>;
  readonly #revocations: HeldRevocations;
  readonly #jwtBundles: HeldBundles<readonly JwtAuthority[]>;
  readonly #jwtSvids: JwtSvidCache;
  readonly #streams: readonly StandingStream[];
  #joined: Joined = { authorities: new Map(), revocations: [], bundles: new Map() };
  #closed = false;

  constructor({ address, hint, now, onEvent }: WorkloadApiOptions) {
    this.#connection = new Connection(parseEndpointSocket(address));
    this.#now = now;
    this.#hint = hint;
    this.#onEvent = onEvent;
    this.#svids = new HeldSvids(now, (event) => this.#svidsChanged(event), hint);
    this.#x509Bundles = new HeldBundles('x509', onEvent);
    this.#revocations = new HeldRevocations(onEvent);
    this.#jwtBundles = new HeldBundles('jwt', onEvent);
    this.#jwtSvids = new JwtSvidCache(
      {
        wanted: () => this.#svids.current()?.default.spiffeId,
        fetch: (audience, spiffeId, timeoutMs) => this.#callForJwtSvid(audience, spiffeId, timeoutMs),
      },
      now,
    );
    this.#streams = this.#openStreams();
  }

  /** The clock that SVIDs are judged by, milliseconds since the epoch. */
  now(): number {
    return this.#now();
  }

  /** The X.509 identities of this workload with their keys; undefined while there is none. */
  x509(): X509Context | undefined {
    return this.#svids.current();
  }

  /** The authorities of each trust domain, by its name (`example.org`), and the revocation lists; the same objects until something changes. */
  x509Bundles(): ReadonlyMap<string, X509Bundle> {
    const [authorities, revocations] = [this.#x509Bundles.current(), this.#revocations.current()];
    if (this.#joined.authorities !== authorities || this.#joined.revocations !== revocations) {
      const bundles = new Map([...authorities].map(([name, list]) => [name, { authorities: list, revocations }]));
      this.#joined = { authorities, revocations, bundles };
    }
    return this.#joined.bundles;
  }

  /** Public JWKs of the keys that sign the JWT-SVIDs of each trust domain, by its name. */
  jwtBundles(): ReadonlyMap<string, readonly JwtAuthority[]> {
    return this.#jwtBundles.current();
  }

  /** Who this workload is: the ID of its default X509-SVID or else of a JWT-SVID that is held. */
  identity(): SpiffeId | undefined {
    return this.#svids.current()?.default.spiffeId ?? this.#jwtSvids.identity();
  }

  /**
   * A JWT-SVID for exactly this audience, from the cache until half of its life. Rejects with IdentityUnavailable.
   * @param timeoutMs how long a call to the agent may take.
   */
  fetchJwtSvid(audience: string, timeoutMs: number = defaultTimeoutMs): Promise<JwtSvid> {
    if (this.#closed) return Promise.reject(new IdentityUnavailable('closed'));
    return this.#jwtSvids.get(audience, timeoutMs);
  }

  /** Ends streams, calls and timers, and forgets all keys and tokens. */
  close(): void {
    this.#closed = true;
    for (const stream of this.#streams) stream.close();
    this.#connection.close();
    this.#svids.close();
    this.#jwtSvids.drop();
  }

  #openStreams(): readonly StandingStream[] {
    const { FetchX509SVID, FetchX509Bundles, FetchJWTBundles } = workloadApiService;
    return [
      this.#hold('FetchX509SVID', FetchX509SVID, {
        take: (response) => {
          // Read before anything is taken: a message with a list that cannot be read is ignored as a whole.
          const lists = parseRevocationLists(response.crl);
          try {
            this.#svids.take(response);
          } catch (error) {
            // A clock that is set back takes the SVID up, and the lists are not sent again.
            if (error instanceof EndedAnswer) this.#revocations.take('svids', lists);
            throw error;
          }
          this.#revocations.take('svids', lists);
        },
        // The lists that came with it stay: the other stream may go on to give the authorities that they are of.
        denied: () => this.#svids.drop('denied'),
      }),
      this.#hold('FetchX509Bundles', FetchX509Bundles, {
        take: ({ bundles, crl }) => {
          const [next, lists] = [parseX509Bundles(bundles), parseRevocationLists(crl)];
          // Lists before bundles: no moment in which an authority is trusted and its list is not known.
          this.#revocations.take('bundles', lists);
          this.#x509Bundles.take(next);
        },
        denied: () => {
          this.#x509Bundles.drop();
          this.#revocations.take('bundles', []);
        },
      }),
      this.#hold('FetchJWTBundles', FetchJWTBundles, {
        take: ({ bundles }) => this.#jwtBundles.take(parseJwtBundles(bundles)),
        denied: () => this.#jwtBundles.drop(),
      }),
    ];
  }

  #hold<Response>(
    method: keyof WorkloadApiService,
    definition: MethodDefinition<EmptyRequest, Response>,
    state: { take(response: Response): void; denied(): void },
  ): HeldStream<Response> {
    return new HeldStream<Response>({
      open: () => this.#connection.openStream(definition),
      take: (response) => state.take(response),
      failed: (failure, retryInMs) => {
        this.#connection.dropIfDead();
        // "No identity" ends the use of what is held at once; any other failure is the agent's, and what it gave stays good.
        if (failure.reason === 'denied') state.denied();
        this.#report(method, failure, retryInMs);
      },
    });
  }

  #svidsChanged(event: SvidEvent): void {
    // One identity, one end: a JWT-SVID that lives longer does not stand in for an X509-SVID that nobody renewed.
    if (event.kind === 'svid.lost') this.#jwtSvids.drop();
    if (event.kind === 'svid.rotated') this.#jwtSvids.forgive();
    if (event.kind === 'svid.lost' && event.cause === 'expired') this.#dialAnew();
    this.#onEvent(event);
  }

  /** An agent renews in time: a connection that may lead to nobody any more, which nobody is told of, is not waited on for ever. */
  #dialAnew(): void {
    this.#connection.drop();
    for (const stream of this.#streams) stream.renew();
  }

  async #callForJwtSvid(audience: string, spiffeId: SpiffeId | undefined, timeoutMs: number): Promise<JwtSvid> {
    const request = { audience: [audience], spiffe_id: spiffeId?.toString() ?? '' };
    const report = (failure: CallFailure) => this.#report('FetchJWTSVID', failure, undefined);
    const response = await this.#connection.call(workloadApiService.FetchJWTSVID, request, timeoutMs, report);
    for (const stream of this.#streams) stream.hurry();
    try {
      const chosen = chooseByHint(response, this.#hint);
      if (chosen === undefined) {
        report({ reason: 'denied', detail: 'the answer holds no JWT-SVID with our hint' });
        throw new IdentityUnavailable('denied');
      }
      return JwtSvid.fromResponse(chosen, audience, this.#now());
    } catch (error) {
      if (!(error instanceof MalformedAnswer)) throw error;
      report({ reason: 'malformed', detail: error.message });
      throw new IdentityUnavailable('malformed');
    }
  }

  #report(method: keyof WorkloadApiService, { reason, detail }: CallFailure, retryInMs: number | undefined): void {
    const event: FailureEvent = { kind: 'error', method, reason, detail };
    this.#onEvent(retryInMs === undefined ? event : { ...event, retryInMs });
  }
}

/** The answer with nothing but the SVID of our hint; undefined where it has none. Of several with one hint the first counts. */
function chooseByHint(response: JwtSvidResponse, hint: string | undefined): JwtSvidResponse | undefined {
  if (hint === undefined) return response;
  const chosen = response.svids.find((svid) => svid.hint === hint);
  return chosen && { svids: [chosen] };
}
