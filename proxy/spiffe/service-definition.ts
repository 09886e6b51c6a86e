import type { MethodDefinition } from '@grpc/grpc-js';
import protobuf from 'protobufjs/light.js';

/**
 * The SPIFFE Workload API in machine form (spiffe/spiffe `standards/workloadapi.proto`): proto3, no package, so the paths are
 * `/SpiffeWorkloadAPI/<Method>`. A map is written as the repeated entry that it is on the wire: a decoder of maps lets the last of two
 * entries win in silence, and two bundles of one trust domain in one message must be an error.
 */
const optional = (type: string, id: number) => ({ type, id });
const repeated = (type: string, id: number) => ({ rule: 'repeated', type, id });
const message = (fields: Record<string, { type: string; id: number; rule?: string }> = {}) => ({ fields });

/** Its messages, by name. */
export const messages = protobuf.Root.fromJSON({
  nested: {
    BytesEntry: message({ key: optional('string', 1), value: optional('bytes', 2) }),
    X509SVIDRequest: message(),
    X509SVIDResponse: message({
      svids: repeated('X509SVID', 1),
      crl: repeated('bytes', 2),
      federated_bundles: repeated('BytesEntry', 3),
    }),
    X509SVID: message({
      spiffe_id: optional('string', 1),
      x509_svid: optional('bytes', 2),
      x509_svid_key: optional('bytes', 3),
      bundle: optional('bytes', 4),
      hint: optional('string', 5),
    }),
    X509BundlesRequest: message(),
    X509BundlesResponse: message({ crl: repeated('bytes', 1), bundles: repeated('BytesEntry', 2) }),
    JWTSVIDRequest: message({ audience: repeated('string', 1), spiffe_id: optional('string', 2) }),
    JWTSVIDResponse: message({ svids: repeated('JWTSVID', 1) }),
    JWTSVID: message({ spiffe_id: optional('string', 1), svid: optional('string', 2), hint: optional('string', 3) }),
    JWTBundlesRequest: message(),
    JWTBundlesResponse: message({ bundles: repeated('BytesEntry', 1) }),
  },
}).resolveAll();

/** One entry of a protobuf `map<string, bytes>`. */
export interface BytesEntry {
  readonly key: string;
  readonly value: Buffer;
}

/** `x509_svid`: the chain, DER, leaf first, concatenated; `x509_svid_key`: PKCS#8 DER; `bundle`: concatenated DER. */
export interface X509SvidMessage {
  readonly spiffe_id: string;
  readonly x509_svid: Buffer;
  readonly x509_svid_key: Buffer;
  readonly bundle: Buffer;
  readonly hint: string;
}

/** The full state: an SVID or a federated bundle that is absent was taken back. */
export interface X509SvidResponse {
  readonly svids: readonly X509SvidMessage[];
  readonly crl: readonly Buffer[];
  readonly federated_bundles: readonly BytesEntry[];
}

/** `value` of each entry is concatenated DER, `key` the SPIFFE ID of the trust domain. */
export interface X509BundlesResponse {
  readonly crl: readonly Buffer[];
  readonly bundles: readonly BytesEntry[];
}

/** `spiffe_id` empty: every identity that the workload has. */
export interface JwtSvidRequest {
  readonly audience: readonly string[];
  readonly spiffe_id: string;
}

/** The first SVID is of the default identity. */
export interface JwtSvidResponse {
  readonly svids: readonly { readonly spiffe_id: string; readonly svid: string; readonly hint: string }[];
}

/** `value` of each entry is a JWKS document. */
export interface JwtBundlesResponse {
  readonly bundles: readonly BytesEntry[];
}

/** A request without fields. */
export type EmptyRequest = Readonly<Record<string, never>>;

/** The methods that Waybill speaks, with their codecs; for clients and servers of @grpc/grpc-js. */
export type WorkloadApiService = {
  readonly FetchX509SVID: MethodDefinition<EmptyRequest, X509SvidResponse>;
  readonly FetchX509Bundles: MethodDefinition<EmptyRequest, X509BundlesResponse>;
  readonly FetchJWTSVID: MethodDefinition<JwtSvidRequest, JwtSvidResponse>;
  readonly FetchJWTBundles: MethodDefinition<EmptyRequest, JwtBundlesResponse>;
};

/** The service itself. Absent fields are read as proto3 defaults: empty text, empty bytes, empty list. */
export const workloadApiService: WorkloadApiService = {
  FetchX509SVID: method('FetchX509SVID', 'X509SVIDRequest', 'X509SVIDResponse'),
  FetchX509Bundles: method('FetchX509Bundles', 'X509BundlesRequest', 'X509BundlesResponse'),
  FetchJWTSVID: { ...method('FetchJWTSVID', 'JWTSVIDRequest', 'JWTSVIDResponse'), responseStream: false },
  FetchJWTBundles: method('FetchJWTBundles', 'JWTBundlesRequest', 'JWTBundlesResponse'),
};

/** A method that answers with a stream. The types of its messages are what the definition above says. */
function method<Request extends object, Response extends object>(
  name: string,
  request: string,
  response: string,
): MethodDefinition<Request, Response> {
  const { write: requestSerialize, read: requestDeserialize } = codec<Request>(request);
  const { write: responseSerialize, read: responseDeserialize } = codec<Response>(response);
  const path = `/SpiffeWorkloadAPI/${name}`;
  const streams = { requestStream: false, responseStream: true };
  return { path, ...streams, requestSerialize, requestDeserialize, responseSerialize, responseDeserialize };
}

/** Protobuf of one message, both ways. Reading throws on what is no such message. */
function codec<Message extends object>(
  name: string,
): { write: (content: Message) => Buffer; read: (bytes: Buffer) => Message } {
  const type = messages.lookupType(name);
  const isMessage = (content: object): content is Message => type.verify(content) === null;
  return {
    write: (content) => Buffer.from(type.encode(type.fromObject(content)).finish()),
    read: (bytes) => {
      const content = type.toObject(type.decode(bytes), { defaults: true });
      if (!isMessage(content)) throw new Error(`an answer of the Workload API is no ${name}`);
      return content;
    },
  };
}

/** Every call carries this metadata (Workload Endpoint, section 3): a browser or a forged redirect cannot add it, a program can. */
export const securityHeader = { name: 'workload.spiffe.io', value: 'true' } as const;
