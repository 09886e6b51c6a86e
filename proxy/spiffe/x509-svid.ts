import { createHash, createPrivateKey, type KeyObject, type X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { readValidity, type Validity } from './certificate-profile.ts';
import { parseCertificates, type Certificate } from './certificates.ts';
import { MalformedAnswer } from './identity-unavailable.ts';
import type { X509SvidMessage, X509SvidResponse } from './service-definition.ts';
import { SpiffeId } from './spiffe-id.ts';

/** One X509-SVID with its key. The key leaves only through `privateKey()`: inspect, JSON and templates do not see it. */
export class X509Svid {
  readonly spiffeId: SpiffeId;
  /** DER certificates, leaf first, without the root. */
  readonly chain: readonly Buffer[];
  /** Serial number of the leaf, upper-case hex. */
  readonly serial: string;
  /** Milliseconds since the epoch; the leaf's. */
  readonly startsAtMs: number;
  /** Milliseconds since the epoch; the earliest end in the chain. */
  readonly expiresAtMs: number;
  /** The operator's name for this SVID, where several are granted. */
  readonly hint: string | undefined;
  readonly #key: KeyObject;

  private constructor(spiffeId: SpiffeId, certificates: readonly Certificate[], key: KeyObject, hint: string) {
    this.spiffeId = spiffeId;
    this.chain = certificates.map((certificate) => certificate.der);
    this.serial = certificates[0]?.parsed.serialNumber ?? '';
    const validities = certificates.map(({ der }) => readDates(der));
    this.startsAtMs = validities[0]?.startsAtMs ?? 0;
    this.expiresAtMs = Math.min(...validities.map(({ endsAtMs }) => endsAtMs));
    this.hint = hint === '' ? undefined : hint;
    this.#key = key;
  }

  /** Reads one SVID of an answer; throws MalformedAnswer where a mandatory field is empty or key, ID and leaf do not agree. */
  static fromMessage(message: X509SvidMessage): X509Svid {
    const spiffeId = parseId(message.spiffe_id);
    if (message.bundle.length === 0) throw new MalformedAnswer('an X509-SVID comes without its bundle');
    const certificates = parseCertificates(message.x509_svid);
    const leaf = certificates[0].parsed;
    checkLeaf(leaf, spiffeId);
    const key = parseKey(message.x509_svid_key);
    if (!leaf.checkPrivateKey(key))
      throw new MalformedAnswer('the key of an X509-SVID does not belong to its certificate');
    checkUsable(certificates, key);
    return new X509Svid(spiffeId, certificates, key, message.hint);
  }

  /** The key of the leaf, for TLS and signatures. */
  privateKey(): KeyObject {
    return this.#key;
  }
}

/** The X.509 identities of this workload as the last answer gave them. */
export interface X509Context {
  /** The identity to use: the one with the hint that was asked for, or else the first of the answer. */
  readonly default: X509Svid;
  readonly svids: readonly X509Svid[];
  /** SHA-256 over the IDs, hints and chains, in order: equal for two answers that say the same. */
  readonly digest: string;
}

/**
 * Reads a whole answer. An answer without SVIDs means that all were taken back: undefined. Throws MalformedAnswer.
 * @param hint of the SVID that is to be the default: then undefined means that this one is not there, whatever others are.
 */
export function parseX509Context(response: X509SvidResponse, hint: string | undefined): X509Context | undefined {
  const svids = dropRepeatedHints(response.svids.map((message) => X509Svid.fromMessage(message)));
  if (hint === undefined) return joinSvids(svids);
  const chosen = svids.find((svid) => svid.hint === hint);
  return chosen && joinSvids([chosen, ...svids.filter((svid) => svid !== chosen)]);
}

/** Makes a context of SVIDs, the first of them the default; undefined without any. */
export function joinSvids(svids: readonly X509Svid[]): X509Context | undefined {
  const first = svids[0];
  if (first === undefined) return undefined;
  const hash = createHash('sha256');
  for (const svid of svids) {
    hash.update(JSON.stringify([svid.spiffeId, svid.hint ?? '', svid.chain.length]));
    for (const der of svid.chain) hash.update(der);
  }
  return { default: first, svids, digest: hash.digest('hex') };
}

/** Of several SVIDs with one hint the first counts (Workload API 4.4). */
function dropRepeatedHints(svids: readonly X509Svid[]): readonly X509Svid[] {
  const seen = new Set<string>();
  return svids.filter((svid) => {
    if (svid.hint === undefined) return true;
    if (seen.has(svid.hint)) return false;
    seen.add(svid.hint);
    return true;
  });
}

/** The rules of X509-SVID 4 that protect us from using a certificate of another name or an authority's certificate as our own. */
function checkLeaf(leaf: X509Certificate, spiffeId: SpiffeId): void {
  if (leaf.ca) throw new MalformedAnswer('the leaf of an X509-SVID is a certificate authority');
  // Node quotes names that hold commas, so a piece that begins with `URI:` cannot be smuggled in within another name.
  const uris = (leaf.subjectAltName ?? '').split(', ').filter((name) => name.startsWith('URI:'));
  if (uris.length !== 1) throw new MalformedAnswer('the leaf of an X509-SVID has not exactly one URI name');
  if (uris[0] !== `URI:${spiffeId.toString()}`)
    throw new MalformedAnswer('the leaf of an X509-SVID names another SPIFFE ID');
}

/** With an end that is no date it would never end. */
function readDates(certificate: Buffer): Validity {
  try {
    return readValidity(certificate);
  } catch {
    throw new MalformedAnswer('an X509-SVID has a date that is none');
  }
}

/** OpenSSL refuses weak keys and signatures when it is given them. Found at a connection, that would end the process at the first one. */
function checkUsable(certificates: readonly Certificate[], key: KeyObject): void {
  try {
    createSecureContext({
      cert: certificates.map(({ parsed }) => parsed.toString()).join(''),
      key: key.export({ type: 'pkcs8', format: 'pem' }),
    });
  } catch {
    throw new MalformedAnswer(
      'an X509-SVID cannot be used for TLS: its key or a signature is too weak, or of an unknown kind',
    );
  }
}

function parseId(text: string): SpiffeId {
  try {
    return SpiffeId.parseWorkload(text);
  } catch {
    throw new MalformedAnswer('an X509-SVID comes without a valid SPIFFE ID');
  }
}

function parseKey(pkcs8: Buffer): KeyObject {
  try {
    return createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
  } catch {
    // The library's own error could quote what it read; it is left behind.
    throw new MalformedAnswer('the key of an X509-SVID cannot be parsed');
  }
}
