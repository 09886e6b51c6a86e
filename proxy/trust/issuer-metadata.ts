import type { World } from '../world.ts';
import { byPublicOnes, type FetchDocument, type VouchedBy } from './jwks.ts';
import { KeptDocument } from './kept-document.ts';
import { parseStrictJson } from './strict-json.ts';

/** An issuer's metadata cannot be had, or is not that issuer's. Names no address. */
export class MetadataUnavailable extends Error {
  constructor() {
    super('issuer metadata unavailable');
  }
}

/** A metadata document whose issuer was compared. Its other members are still to be checked, each where it is used. */
export type Metadata = Readonly<Record<string, unknown>>;

/** Real documents have 2 to 8 KiB. */
const maxMetadataBytes = 256 * 1024;
/**
 * Endpoints move rarely; a service that was found is found for a day, even if it does not publish its metadata meanwhile.
 * The wait for it is short: a moved endpoint is one refusal, and the time is for the requests that follow.
 */
const keeping = { ttlMs: 600_000, keepMs: 24 * 3_600_000, freshPart: 0.1, retryMs: 1000, renewMs: 600_000 };

/** Metadata documents of configured issuers (RFC 8414, OpenID Connect Discovery), cached by issuer and by who vouches for it. */
export class IssuerMetadata {
  readonly #world: World;
  readonly #fetch: FetchDocument;
  readonly #vouchedBy: VouchedBy;
  readonly #documents = new Map<string, KeptDocument<Metadata>>();
  readonly #placesOf: (issuer: string) => readonly URL[];

  /** @param placesOf where the metadata of an issuer may stand, in the order of asking. */
  constructor(world: World, fetch: FetchDocument, vouchedBy: VouchedBy = byPublicOnes, placesOf = metadataUrls) {
    this.#world = world;
    this.#fetch = fetch;
    this.#vouchedBy = vouchedBy;
    this.#placesOf = placesOf;
  }

  /** The metadata of an issuer. Rejects with `MetadataUnavailable`. */
  read(issuer: string, timeoutMs: number): Promise<Metadata> {
    const name = this.#nameOf(issuer);
    let document = this.#documents.get(name);
    if (document === undefined) {
      const load = (budgetMs: number): Promise<Metadata> => this.#load(issuer, budgetMs);
      document = new KeptDocument(this.#world, keeping, load, () => new MetadataUnavailable());
      this.#documents.set(name, document);
    }
    return document.read(timeoutMs);
  }

  /** What is known without asking, or undefined. */
  peek(issuer: string): Metadata | undefined {
    return this.#documents.get(this.#nameOf(issuer))?.peek();
  }

  #nameOf(issuer: string): string {
    return `${this.#vouchedBy(new URL(issuer))} ${issuer}`;
  }

  async #load(issuer: string, timeoutMs: number): Promise<Metadata> {
    // One limit for all places together.
    const endMs = this.#world.monotonic() + timeoutMs;
    for (const url of this.#placesOf(issuer)) {
      const leftMs = Math.ceil(endMs - this.#world.monotonic());
      if (leftMs <= 0) break;
      const reply = await this.#ask(url, leftMs);
      if (reply.status !== 200) continue;
      const metadata = readMetadata(reply.body);
      // Byte for byte (RFC 8414 3.3): a document that names another issuer would steer our credentials to it (mix-up).
      if (metadata?.['issuer'] === issuer) return metadata;
    }
    throw new MetadataUnavailable();
  }

  /** No answer from one place ends the search: the other places are on the same host, and the time is short. */
  async #ask(url: URL, timeoutMs: number): Promise<{ status: number; body: string }> {
    try {
      const headers = { accept: 'application/json' };
      return await this.#fetch(url, { method: 'GET', headers, timeoutMs, maxBytes: maxMetadataBytes });
    } catch {
      throw new MetadataUnavailable();
    }
  }
}

/** Where an issuer's metadata may stand, in the order of asking: RFC 8414 3.1, its OpenID variant, OpenID Discovery 4. */
export function metadataUrls(issuer: string): readonly URL[] {
  const { origin, pathname } = checkIssuer(issuer);
  const path = pathname.replace(/\/$/, '');
  const places = [
    `${origin}/.well-known/oauth-authorization-server${path}`,
    `${origin}/.well-known/openid-configuration${path}`,
    `${origin}${path}/.well-known/openid-configuration`,
  ];
  return [...new Set(places)].map((place) => new URL(place));
}

/** Where the metadata of a transmitter of signals stands: between its host and its path (SSF 1.0, 7.2). */
export function transmitterUrls(issuer: string): readonly URL[] {
  const { origin, pathname } = checkIssuer(issuer);
  return [new URL(`${origin}/.well-known/ssf-configuration${pathname.replace(/\/$/, '')}`)];
}

/**
 * The URL of an endpoint that the issuer's own metadata names. Throws unless it is https (loopback apart) and on the issuer's
 * origin: else whoever can change one member of a document receives our assertions and the user's token (W5). An endpoint on
 * another origin has to be named in the configuration.
 */
export function readOwnEndpoint(value: unknown, issuer: string): URL {
  const url = typeof value === 'string' ? checkEndpoint(value) : undefined;
  if (url === undefined || url.origin !== checkIssuer(issuer).origin) throw new MetadataUnavailable();
  return url;
}

/** An endpoint's URL: https, or http on loopback; no fragment and no user. Throws `MetadataUnavailable` otherwise. */
export function checkEndpoint(text: string): URL {
  const url = URL.parse(text);
  if (url === null || !isSafeScheme(url) || url.username !== '' || url.password !== '' || url.hash !== '') {
    throw new MetadataUnavailable();
  }
  return url;
}

/** An issuer identifier has no query (RFC 8414 2): its path is moved, and a query would not move with it. */
function checkIssuer(issuer: string): URL {
  const url = checkEndpoint(issuer);
  if (url.search !== '') throw new MetadataUnavailable();
  return url;
}

/** The name `localhost` counts as loopback here; what it resolves to is checked when it is dialled. */
function isSafeScheme(url: URL): boolean {
  if (url.protocol === 'https:') return true;
  const loopback =
    url.hostname === 'localhost' || url.hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(url.hostname);
  return url.protocol === 'http:' && loopback;
}

/** Undefined for what is no document, such as the page that a web server gives for every path. */
function readMetadata(body: string): Metadata | undefined {
  try {
    return parseStrictJson(body);
  } catch {
    return undefined;
  }
}
