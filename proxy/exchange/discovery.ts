import { checkEndpoint, type IssuerMetadata, MetadataUnavailable, readOwnEndpoint } from '../trust/issuer-metadata.ts';
import type { Deadline } from './deadline.ts';
import type { ServiceSettings } from './service-settings.ts';

/** Where a token service is asked. Every URL is https or loopback, and on the issuer's origin or named in the configuration (W5). */
export interface ServiceEndpoints {
  readonly token: URL;
  readonly revocation: URL | undefined;
  readonly introspection: URL | undefined;
  readonly jwks: URL | undefined;
}

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
    const choose = (own: string | undefined, member: string): URL | undefined =>
      own === undefined ? this.#own(found[member]) : checkEndpoint(own);
    const token = choose(listed.token, 'token_endpoint');
    if (token === undefined) throw new MetadataUnavailable();
    this.#known = {
      token,
      revocation: choose(listed.revocation, 'revocation_endpoint'),
      introspection: choose(listed.introspection, 'introspection_endpoint'),
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
