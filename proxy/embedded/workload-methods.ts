import {
  status,
  type Metadata,
  type sendUnaryData,
  type ServerUnaryCall,
  type ServerWritableStream,
} from '@grpc/grpc-js';
import {
  securityHeader,
  type BytesEntry,
  type EmptyRequest,
  type JwtBundlesResponse,
  type JwtSvidRequest,
  type JwtSvidResponse,
  type X509BundlesResponse,
  type X509SvidResponse,
} from '../spiffe/service-definition.ts';
import type { Authority } from './authority.ts';
import type { WorkloadEntries } from './workload-entries.ts';

type Stream<Response> = ServerWritableStream<EmptyRequest, Response>;

/** How JWT-SVIDs are made. */
export interface JwtSettings {
  readonly ttlSeconds: number;
  readonly issuer: string;
}

// Codes and words are SPIRE's: clients that were written against it meet here what they know.
const missingHeader = { code: status.INVALID_ARGUMENT, details: 'security header missing from request' };
const noIdentity = { code: status.PERMISSION_DENIED, details: 'no identity issued' };
const noAudience = { code: status.INVALID_ARGUMENT, details: 'audience must be specified' };

/** The methods of the Workload API over the entries of one socket, for `addService` of @grpc/grpc-js. */
export function workloadMethods(authority: Authority, entries: WorkloadEntries, jwt: JwtSettings) {
  const trustDomainId = `spiffe://${authority.trustDomain}`;
  const bundles = (value: Buffer): BytesEntry[] => [{ key: trustDomainId, value }];
  return {
    FetchX509SVID: (call: Stream<X509SvidResponse>) =>
      hold(call, authority, entries, () => ({ svids: entries.x509Svids(), crl: [], federated_bundles: [] })),
    FetchX509Bundles: (call: Stream<X509BundlesResponse>) =>
      hold(call, authority, entries, () => ({ crl: [], bundles: bundles(authority.bundle().x509Der) })),
    FetchJWTBundles: (call: Stream<JwtBundlesResponse>) =>
      hold(call, authority, entries, () => ({
        bundles: bundles(Buffer.from(JSON.stringify({ keys: authority.bundleJwks() }))),
      })),
    FetchJWTSVID: (call: ServerUnaryCall<JwtSvidRequest, JwtSvidResponse>, answer: sendUnaryData<JwtSvidResponse>) => {
      if (!hasHeader(call.metadata)) return answer(missingHeader);
      const { audience, spiffe_id: wanted } = call.request;
      if (audience.length === 0 || audience.includes('')) return answer(noAudience);
      const granted = entries.current.filter(({ spiffeId }) => wanted === '' || wanted === spiffeId);
      if (granted.length === 0) return answer(noIdentity);
      // Every call signs a new token (SPIRE repeats one until half of its life): what a client caches is then seen to be its own doing.
      const iat = Math.floor(Date.now() / 1000);
      const claims = { aud: audience, iss: jwt.issuer, iat, exp: iat + jwt.ttlSeconds };
      const svids = granted.map(({ spiffeId, hint = '' }) => ({
        spiffe_id: spiffeId,
        svid: authority.issueJwt({ ...claims, sub: spiffeId }),
        hint,
      }));
      return answer(null, { svids });
    },
  };
}

/** Sends the state at once and after every change, until the caller goes or its last identity is taken away. */
function hold<Response>(
  call: Stream<Response>,
  authority: Authority,
  entries: WorkloadEntries,
  state: () => Response,
): void {
  const end = (error: { code: status; details: string }) => void call.emit('error', error);
  if (!hasHeader(call.metadata)) return end(missingHeader);
  if (entries.current.length === 0) return end(noIdentity);
  // One state for all reasons to send: a change of the bundle repeats unchanged SVIDs, which clients have to bear from SPIRE too.
  const send = () => void call.write(state());
  const stopListening = entries.listen({
    updated: send,
    denied: () => {
      // Before the end is written: a later change must not be sent on a stream that is over.
      stop();
      end(noIdentity);
    },
  });
  const stopWatching = authority.onBundleChange(send);
  const stop = () => {
    stopListening();
    stopWatching();
  };
  call.on('cancelled', stop);
  call.on('close', stop);
  return send();
}

/** The guard against requests that another program was tricked into (Workload Endpoint, section 3): no value but `true` will do. */
function hasHeader(metadata: Metadata): boolean {
  return metadata.get(securityHeader.name).includes(securityHeader.value);
}
