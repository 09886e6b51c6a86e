import { createHash, type KeyObject } from 'node:crypto';
import { isSignedWith } from './certificate-signature.ts';
import { derTag, DerValue, MalformedDer, required } from './der.ts';
import { MalformedAnswer } from './identity-unavailable.ts';

/** Object identifiers of the extensions that change what a list means (RFC 5280 5.2), hex. */
const oid = { deltaIndicator: '551d1b', distributionPoint: '551d1c' } as const;
/** Tag of `indirectCRL` in an IssuingDistributionPoint. */
const indirect = 0x84;
/** Clocks of two machines differ by up to this much. */
const skewMs = 30_000;
const maxKnownKeys = 64;

interface Fields {
  /** Hex of the DER of the name. */
  readonly issuer: string;
  readonly algorithm: string;
  readonly signed: Buffer;
  readonly signature: Buffer;
  readonly thisUpdateMs: number;
  readonly nextUpdateMs: number;
  /** Serial numbers, hex of their DER bodies. */
  readonly serials: ReadonlySet<string>;
  readonly scope: string;
}

/** A certificate revocation list (RFC 5280 5). Whose it is, its signature says: a list is nobody's until an authority is found that made it. */
export class RevocationList {
  /** SHA-256 of its DER, hex. */
  readonly digest: string;
  /** When the next one is due at the latest, milliseconds since the epoch. */
  readonly nextUpdateMs: number;
  /** Which part of its issuer's certificates or reasons it speaks of, hex of the IssuingDistributionPoint; empty for all of them. */
  readonly scope: string;
  readonly #fields: Fields;
  readonly #signers = new Map<string, boolean>();

  private constructor(digest: string, fields: Fields) {
    this.digest = digest;
    this.nextUpdateMs = fields.nextUpdateMs;
    this.scope = fields.scope;
    this.#fields = fields;
  }

  /**
   * Reads a list. Delta and indirect lists are refused: alone they say something else than a reader of plain lists takes from them, and
   * so is one without a next update, which would count for ever. Throws MalformedAnswer.
   */
  static parse(der: Buffer): RevocationList {
    try {
      // A copy: the received message must not be kept alive by it.
      const own = Buffer.from(der);
      return new RevocationList(createHash('sha256').update(own).digest('hex'), readFields(own));
    } catch (error) {
      if (error instanceof MalformedDer) throw new MalformedAnswer('a certificate revocation list cannot be read');
      throw error;
    }
  }

  /** Whether the authority of this name (hex of its DER) and key made the list. */
  isBy(subject: string, key: KeyObject): boolean {
    const { issuer, algorithm, signed, signature } = this.#fields;
    if (issuer !== subject) return false;
    const id = key.export({ type: 'spki', format: 'der' }).toString('base64');
    let answer = this.#signers.get(id);
    if (answer === undefined) {
      answer = isSignedWith(key, algorithm, signed, signature);
      if (this.#signers.size >= maxKnownKeys) this.#signers.clear();
      this.#signers.set(id, answer);
    }
    return answer;
  }

  /** Whether it speaks about this moment. */
  isCurrent(nowMs: number): boolean {
    return this.#fields.thisUpdateMs - skewMs <= nowMs && nowMs < this.nextUpdateMs;
  }

  /** Whether it names a serial number (hex of the DER body). */
  holds(serial: string): boolean {
    return this.#fields.serials.has(serial);
  }
}

/** Reads the lists of an answer. Throws MalformedAnswer. */
export function parseRevocationLists(ders: readonly Buffer[]): readonly RevocationList[] {
  return ders.map((der) => RevocationList.parse(der));
}

/** CertificateList and TBSCertList (RFC 5280 5.1): version, algorithm, issuer, this and next update, entries, extensions. */
function readFields(der: Buffer): Fields {
  const [list, outer, bits, more] = DerValue.read(der).as(derTag.sequence).parts();
  if (more !== undefined) throw new MalformedDer();
  const signed = required(list, derTag.sequence);
  const parts = [...signed.parts()];
  // Version 2 is the number 1; version 1 is said by saying nothing.
  if (parts[0]?.tag === derTag.integer && parts.shift()?.hex() !== '01') throw new MalformedDer();
  const [inner, issuer, thisUpdate, nextUpdate, ...rest] = parts;
  const algorithm = required(outer, derTag.sequence);
  // RFC 5280 5.1.1.2: the algorithm stands within what is signed too, and there it cannot be exchanged.
  if (!required(inner, derTag.sequence).whole().equals(algorithm.whole())) throw new MalformedDer();
  if (thisUpdate === undefined || nextUpdate === undefined) throw new MalformedDer();
  const entries = rest[0]?.tag === derTag.sequence ? rest.shift() : undefined;
  const extensions = rest.shift();
  if (rest.length > 0) throw new MalformedDer();
  return {
    issuer: required(issuer, derTag.sequence).whole().toString('hex'),
    algorithm: required(algorithm.parts()[0], derTag.oid).oid(),
    signed: signed.whole(),
    signature: required(bits, derTag.bits).octetsOfBits(),
    thisUpdateMs: thisUpdate.time(),
    nextUpdateMs: nextUpdate.time(),
    serials: new Set(entries?.parts().map(readEntry)),
    scope: extensions === undefined ? '' : readScope(extensions.as(0xa0).part()),
  };
}

function readEntry(entry: DerValue): string {
  const [serial, date, extensions, more] = entry.as(derTag.sequence).parts();
  if (date === undefined || more !== undefined) throw new MalformedDer();
  date.time();
  // A critical one says that the entry is of another issuer's certificate, or something that we do not know.
  if (extensions !== undefined && readExtensions(extensions).some(({ critical }) => critical)) throw new MalformedDer();
  return required(serial, derTag.integer).hex();
}

function readScope(list: DerValue): string {
  let scope = '';
  for (const { id, critical, value } of readExtensions(list)) {
    if (id === oid.deltaIndicator) throw new MalformedDer();
    // A part of what is revoked is revoked all the same; entries of other issuers' certificates are what must not be read as ours.
    if (id === oid.distributionPoint) {
      const limits = value.part().as(derTag.sequence);
      if (limits.parts().some(({ tag }) => tag === indirect)) throw new MalformedDer();
      scope = limits.hex();
    } else if (critical) throw new MalformedDer();
  }
  return scope;
}

function readExtensions(list: DerValue): readonly { id: string; critical: boolean; value: DerValue }[] {
  return list
    .as(derTag.sequence)
    .parts()
    .map((entry) => {
      const parts = entry.as(derTag.sequence).parts();
      const critical = parts.length === 3 && required(parts[1], derTag.boolean).isTrue();
      if (parts.length > 3) throw new MalformedDer();
      return { id: required(parts[0], derTag.oid).oid(), critical, value: required(parts.at(-1), derTag.octets) };
    });
}
