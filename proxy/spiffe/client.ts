/**
 * `waybill/spiffe`: what this folder offers to other programs. It speaks the SPIFFE Workload API, checks SVIDs of others, and makes
 * TLS with its own; it knows nothing of Waybill. README.md beside it shows each part in use.
 */
export { parseBundleDocument, parseBundleMap, type BundleDocument } from './bundle-document.ts';
export {
  EndpointUnavailable,
  fetchBundle,
  type DialTcp,
  type EndpointFault,
  type EndpointProfile,
} from './bundle-endpoint.ts';
export { connectWorkloadApi, type ConnectOptions } from './connect.ts';
export type { JwtAuthority } from './bundles.ts';
export { parseJwtBundle } from './bundles.ts';
export { InvalidEndpointSocket } from './endpoint-socket.ts';
export { FederatedBundle, type BundleSource, type FederationEvents, type PollFault } from './federated-bundle.ts';
export { FileBundle, type BundleFileEvents, type BundleFileFault } from './file-bundle.ts';
export { IdentityUnavailable, MalformedAnswer, type UnavailableReason } from './identity-unavailable.ts';
export type { JwtSvid } from './jwt-svid.ts';
export { checkJwtSvid, type InvalidJwtSvidReason, type JwtBundleOf, type JwtSvidVerdict } from './jwt-svid-check.ts';
export { connectMtls, createMtlsAgent, createMtlsServer, NoSvid, peerIdOf, type MtlsSource } from './mtls.ts';
export { readProjectedToken, type ProjectedToken } from './projected-token.ts';
export { RevocationList } from './revocation-list.ts';
export { InvalidSpiffeId, SpiffeId, type SpiffeIdFault } from './spiffe-id.ts';
export { openWorkloadApi, type WorkloadApi, type WorkloadApiEvent, type WorkloadApiOptions } from './workload-api.ts';
export {
  checkX509Path,
  InvalidSvidPath,
  type InvalidSvidPathReason,
  type X509Bundle,
  type X509BundleOf,
  type X509Path,
} from './x509-path.ts';
export type { X509Context, X509Svid } from './x509-svid.ts';
export { openSvidFiles, type SvidFiles, type SvidFilesEvent, type SvidFilesOptions } from './svid-files.ts';
export { chainOfPeer, checkPeerChain, PeerNotAuthorized, type Authorize } from './svid-tls.ts';
