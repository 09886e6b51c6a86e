/** Why a text is no SPIFFE ID. The text itself is never repeated: it may come from a certificate or a token of a stranger. */
export type SpiffeIdFault =
  | 'empty'
  | 'too-long'
  | 'scheme'
  | 'trust-domain-missing'
  | 'trust-domain-too-long'
  | 'trust-domain-chars'
  | 'percent-encoding'
  | 'query-or-fragment'
  | 'empty-segment-or-trailing-slash'
  | 'dot-segment'
  | 'path-chars'
  | 'path-missing'
  | 'path-present';

/** A text was refused as SPIFFE ID. */
export class InvalidSpiffeId extends Error {
  override readonly name = 'InvalidSpiffeId';
  readonly fault: SpiffeIdFault;

  constructor(fault: SpiffeIdFault) {
    super(`not a SPIFFE ID: ${fault}`);
    this.fault = fault;
  }
}

const scheme = 'spiffe://';
const maxLength = 2048;
const maxTrustDomainLength = 255;
const trustDomainChars = /^[a-z0-9._-]+$/;
const segmentChars = /^[A-Za-z0-9._-]+$/;

/**
 * A SPIFFE ID (SPIFFE-ID, sections 2 and 2.3). A value that exists is valid and has one spelling only, so equality is equality of
 * texts. Upper case in scheme and trust domain is refused, as go-spiffe does: two spellings of one name are two chances to be let in.
 */
export class SpiffeId {
  /** `example.org`: lower case, no scheme. It is not a DNS name. */
  readonly trustDomain: string;
  /** `/ns/prod/agent`, or the empty string for the ID of a trust domain itself. */
  readonly path: string;
  readonly #text: string;

  private constructor(trustDomain: string, path: string) {
    this.trustDomain = trustDomain;
    this.path = path;
    this.#text = `${scheme}${trustDomain}${path}`;
  }

  /** Reads `spiffe://<trust domain>[/path]`. Throws InvalidSpiffeId. */
  static parse(text: string): SpiffeId {
    const fault = findFault(text);
    if (fault !== undefined) throw new InvalidSpiffeId(fault);
    const { trustDomain, path } = split(text);
    return new SpiffeId(trustDomain, path);
  }

  /** Reads the ID of a workload: it must have a path (X509-SVID 2, JWT-SVID 3.1). Throws InvalidSpiffeId. */
  static parseWorkload(text: string): SpiffeId {
    const id = SpiffeId.parse(text);
    if (id.path === '') throw new InvalidSpiffeId('path-missing');
    return id;
  }

  /** Reads the ID of a trust domain itself: it must have no path. Throws InvalidSpiffeId. */
  static parseTrustDomain(text: string): SpiffeId {
    const id = SpiffeId.parse(text);
    if (id.path !== '') throw new InvalidSpiffeId('path-present');
    return id;
  }

  /** The same ID, byte for byte. */
  equals(other: SpiffeId): boolean {
    return this.#text === other.#text;
  }

  /** The ancestor itself or below it by whole segments: `/agent/a` is within `/agent`, `/agent2` is not. */
  isWithin(ancestor: SpiffeId): boolean {
    // The slash keeps a prefix of a segment, or of a trust domain, from passing as the whole (`example.org` and `example.org.evil`).
    return this.equals(ancestor) || this.#text.startsWith(`${ancestor.#text}/`);
  }

  toString(): string {
    return this.#text;
  }

  toJSON(): string {
    return this.#text;
  }
}

function split(text: string): { trustDomain: string; path: string } {
  const slash = text.indexOf('/', scheme.length);
  if (slash === -1) return { trustDomain: text.slice(scheme.length), path: '' };
  return { trustDomain: text.slice(scheme.length, slash), path: text.slice(slash) };
}

function findFault(text: string): SpiffeIdFault | undefined {
  if (text === '') return 'empty';
  // Characters are counted here, not bytes: a text with any that is longer than a byte is refused below.
  if (text.length > maxLength) return 'too-long';
  if (!text.startsWith(scheme)) return 'scheme';
  if (text.includes('%')) return 'percent-encoding';
  if (/[?#]/.test(text)) return 'query-or-fragment';
  const { trustDomain, path } = split(text);
  if (trustDomain === '') return 'trust-domain-missing';
  if (trustDomain.length > maxTrustDomainLength) return 'trust-domain-too-long';
  if (!trustDomainChars.test(trustDomain)) return 'trust-domain-chars';
  return path === '' ? undefined : findPathFault(path);
}

function findPathFault(path: string): SpiffeIdFault | undefined {
  for (const segment of path.slice(1).split('/')) {
    if (segment === '') return 'empty-segment-or-trailing-slash';
    if (segment === '.' || segment === '..') return 'dot-segment';
    if (!segmentChars.test(segment)) return 'path-chars';
  }
  return undefined;
}
