import {
  checkEndpoint,
  type IssuerMetadata,
  type Metadata,
  MetadataUnavailable,
  readOwnEndpoint,
} from '../trust/issuer-metadata.ts';
import { isObject } from '../trust/strict-json.ts';
import type { Deadline } from './deadline.ts';
import type { ServiceSettings } from './service-settings.ts';
import type { TokenOrder } from './token-order.ts';

/** Where a token service is asked. Every URL is https or loopback, and on the issuer's origin or named in the configuration (W5). */
export interface ServiceEndpoints {
  readonly token: URL;
  /** Token endpoint for requests over mutual TLS (RFC 8705 5), where no other is named the same; undefined where it must not be asked. */
  readonly certifiedToken: URL | undefined;
  readonly revocation: URL | undefined;
  readonly introspection: URL | undefined;
  readonly jwks: URL | undefined;
}

/** Ways to authenticate whose proof is the certificate of the connection. */
const certifiedMethods: ReadonlySet<ServiceSettings['client_auth']> = new Set(['spiffe_x509', 'tls_client_auth']);
/** Members that may have another place for mutual TLS, and are of use to us. */
const aliased = ['token_endpoint', 'revocation_endpoint', 'introspection_endpoint'];

/** The endpoints of one service: as configured, else from the issuer's metadata. */
export class Discovery {
  readonly #settings: ServiceSettings;
  readonly #metadata: IssuerMetadata;
  /** For those who must not wait: whether a token can be revoked is asked at the end of a task. */
  #known: ServiceEndpoints | undefined;

  constructor(settings: ServiceSettings, metadata: IssuerMetadata) {
    this.#settings = settings;
    this.#metadata = metadata;
  }

  /** Rejects with `MetadataUnavailable` when there is no acceptable token endpoint. */
  async find(deadline: Deadline): Promise<ServiceEndpoints> {
    const listed = this.#settings.endpoints ?? {};
    const found = listed.token === undefined ? await this.#metadata.read(this.#settings.issuer, deadline.leftMs()) : {};
    // What is configured wins member by member: it may name a place that metadata must not.
    const choose = (own: string | undefined, member: string, document = found): URL | undefined =>
      own === undefined ? this.#own(document[member]) : checkEndpoint(own);
    const certified = withAliases(found);
    const asked = certifiedMethods.has(this.#settings.client_auth) ? certified : found;
    const token = choose(listed.token, 'token_endpoint', asked);
    if (token === undefined) throw new MetadataUnavailable();
    this.#known = {
      token,
      certifiedToken: choose(listed.token, 'token_endpoint', certified),
      revocation: choose(listed.revocation, 'revocation_endpoint', asked),
      introspection: choose(listed.introspection, 'introspection_endpoint', asked),
      jwks: choose(listed.jwks, 'jwks_uri'),
    };
    return this.#known;
  }

  /** The endpoints that were found last, or undefined before the first time. */
  known(): ServiceEndpoints | undefined {
    return this.#known;
  }

  /** An endpoint that the metadata places elsewhere is as good as absent: nothing of ours is sent there. */
  #own(value: unknown): URL | undefined {
    try {
      return readOwnEndpoint(value, this.#settings.issuer);
    } catch {
      return undefined;
    }
  }
}

/** The metadata as it holds for mutual TLS: `mtls_endpoint_aliases` in place of the endpoints that they stand for (RFC 8705 5). */
function withAliases(metadata: Metadata): Metadata {
  const aliases = metadata['mtls_endpoint_aliases'];
  if (!isObject(aliases)) return metadata;
  const own = aliased.filter((member) => aliases[member] !== undefined);
  return { ...metadata, ...Object.fromEntries(own.map((member) => [member, aliases[member]])) };
}

/** RFC 8705 5: a token that shall be bound to our certificate is asked for where certificates are looked at. */
export function endpointsFor({ certificate }: TokenOrder, endpoints: ServiceEndpoints): ServiceEndpoints {
  if (certificate === undefined) return endpoints;
  // Its alias is where nothing of ours may go. The other endpoint would not bind the token, or not know us.
  if (endpoints.certifiedToken === undefined) throw new MetadataUnavailable();
  return { ...endpoints, token: endpoints.certifiedToken };
}
