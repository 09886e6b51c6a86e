import { derTag, DerValue, MalformedDer, required } from './der.ts';

/** A name of a certificate (RFC 5280 4.2.1.6): its kind as the tag number of GeneralName, and for a URI its text. */
export interface GeneralName {
  readonly form: number;
  readonly text: string;
}

/** When a certificate is good, milliseconds since the epoch. Of a date that is none `validToDate` of node:crypto is whatever lay in memory. */
export interface Validity {
  readonly startsAtMs: number;
  readonly endsAtMs: number;
}

/** What node:crypto does not say of a certificate, or says in words that have to be parsed again. */
export interface CertificateProfile extends Validity {
  /** Object identifier of the signature's algorithm, hex of its DER body. */
  readonly signatureAlgorithm: string;
  /** Hex of the DER body of the serial number. */
  readonly serial: string;
  /** Hex of the DER of the name. */
  readonly subject: string;
  readonly hasSubject: boolean;
  readonly isAuthority: boolean;
  /** How many further authorities may stand below it; Infinity where it does not say. */
  readonly pathLength: number;
  readonly keyUsage: { readonly critical: boolean; readonly bits: number } | undefined;
  /** Object identifiers, hex; undefined where the extension is absent. */
  readonly purposes: readonly string[] | undefined;
  readonly names: readonly GeneralName[];
  readonly permitted: readonly GeneralName[];
  readonly excluded: readonly GeneralName[];
}

/** Bits of keyUsage that decide between leaf and authority, in the first byte of its bit string (RFC 5280 4.2.1.3). */
export const keyUsageBit = { digitalSignature: 0x80, keyCertSign: 0x04, crlSign: 0x02 } as const;
/** Tag numbers of GeneralName. */
export const nameForm = { directory: 4, uri: 6 } as const;

/** A certificate makes a demand that we do not know, so we cannot meet it (RFC 5280 4.2). */
export class UnknownCriticalExtension extends Error {
  constructor() {
    super('unknown critical extension');
  }
}

interface Extension {
  readonly critical: boolean;
  readonly value: DerValue;
}

/** Object identifiers of the extensions that are understood here, hex: id-ce (2.5.29) and the arc below. */
const oid = {
  keyUsage: '551d0f',
  subjectAltName: '551d11',
  basicConstraints: '551d13',
  nameConstraints: '551d1e',
  extendedKeyUsage: '551d25',
} as const;
const understood: ReadonlySet<string> = new Set(Object.values(oid));

/** Reads when a certificate of any version is good. Throws MalformedDer. */
export function readValidity(certificate: Buffer): Validity {
  const [signed] = DerValue.read(certificate).as(derTag.sequence).parts();
  const parts = required(signed, derTag.sequence).parts();
  return readTimes(parts[parts[0]?.tag === 0xa0 ? 4 : 3]);
}

/** Validity (RFC 5280 4.1.2.5). */
function readTimes(value: DerValue | undefined): Validity {
  const [start, end, more] = required(value, derTag.sequence).parts();
  if (start === undefined || end === undefined || more !== undefined) throw new MalformedDer();
  return { startsAtMs: start.time(), endsAtMs: end.time() };
}

/** Reads the profile of one X.509 v3 certificate. Throws MalformedDer or UnknownCriticalExtension. */
export function readProfile(certificate: Buffer): CertificateProfile {
  const [signed, algorithm] = DerValue.read(certificate).as(derTag.sequence).parts();
  const { serial, subject, extensions, validity } = readSigned(required(signed, derTag.sequence));
  const basic = readBasicConstraints(extensions.get(oid.basicConstraints));
  const constraints = readNameConstraints(extensions.get(oid.nameConstraints));
  return {
    ...validity,
    signatureAlgorithm: required(required(algorithm, derTag.sequence).parts()[0], derTag.oid).oid(),
    serial,
    subject: subject.whole().toString('hex'),
    hasSubject: subject.length > 0,
    isAuthority: basic.isAuthority,
    pathLength: basic.pathLength,
    keyUsage: readKeyUsage(extensions.get(oid.keyUsage)),
    purposes: readPurposes(extensions.get(oid.extendedKeyUsage)),
    names: readNames(extensions.get(oid.subjectAltName)),
    permitted: constraints(0xa0),
    excluded: constraints(0xa1),
  };
}

/** TBSCertificate (RFC 5280 4.1): version, serial, algorithm, issuer, validity, subject, key, unique ids, extensions. */
function readSigned(value: DerValue) {
  const parts = value.parts();
  const version = required(parts[0], 0xa0).part().as(derTag.integer);
  // Version 3 is the number 2. Older ones have no extensions, so they cannot be told from an authority.
  if (version.length !== 1 || version.at(0) !== 2) throw new MalformedDer();
  const serial = required(parts[1], derTag.integer).hex();
  const validity = readTimes(parts[4]);
  const subject = required(parts[5], derTag.sequence);
  required(parts[6], derTag.sequence);
  return { serial, subject, validity, extensions: readExtensions(required(parts.at(-1), 0xa3).part()) };
}

function readExtensions(list: DerValue): ReadonlyMap<string, Extension> {
  const found = new Map<string, Extension>();
  for (const entry of list.as(derTag.sequence).parts()) {
    const parts = entry.as(derTag.sequence).parts();
    const id = required(parts[0], derTag.oid).oid();
    const critical = parts.length === 3 && required(parts[1], derTag.boolean).isTrue();
    // Of two, one library takes the first and another the last (RFC 5280 4.2 forbids it).
    if (found.has(id) || parts.length > 3) throw new MalformedDer();
    if (critical && !understood.has(id)) throw new UnknownCriticalExtension();
    // Others may hold anything, also what is no DER.
    const octets = required(parts.at(-1), derTag.octets);
    if (understood.has(id)) found.set(id, { critical, value: octets.part() });
    else found.set(id, { critical, value: octets });
  }
  return found;
}

function readBasicConstraints(extension: Extension | undefined): { isAuthority: boolean; pathLength: number } {
  const parts = listOf(extension);
  const says = parts[0]?.tag === derTag.boolean;
  const isAuthority = says && parts[0]?.isTrue() === true;
  const [limit, more] = says ? parts.slice(1) : parts;
  if (more !== undefined) throw new MalformedDer();
  if (limit === undefined) return { isAuthority, pathLength: Infinity };
  const pathLength = limit.as(derTag.integer).at(0);
  // One byte holds every honest limit; from 0x80 on it is a negative number.
  if (limit.length !== 1 || pathLength > 0x7f) throw new MalformedDer();
  return { isAuthority, pathLength };
}

function readKeyUsage(extension: Extension | undefined): CertificateProfile['keyUsage'] {
  if (extension === undefined) return undefined;
  const bits = extension.value.as(derTag.bits);
  // The first byte counts the unused bits of the last.
  if (bits.at(0) > 7) throw new MalformedDer();
  return { critical: extension.critical, bits: bits.at(1) };
}

function readPurposes(extension: Extension | undefined): readonly string[] | undefined {
  return extension === undefined ? undefined : listOf(extension).map((purpose) => purpose.oid());
}

function readNames(extension: Extension | undefined): readonly GeneralName[] {
  const names = listOf(extension).map(readName);
  if (extension !== undefined && names.length === 0) throw new MalformedDer();
  return names;
}

/** Reads the subtrees of a kind: `0xa0` permitted, `0xa1` excluded (RFC 5280 4.2.1.10). */
function readNameConstraints(extension: Extension | undefined): (tag: number) => readonly GeneralName[] {
  const kinds = listOf(extension);
  if (kinds.some(({ tag }) => tag !== 0xa0 && tag !== 0xa1)) throw new MalformedDer();
  return (tag) => kinds.filter((kind) => kind.tag === tag).flatMap((kind) => kind.parts().map(readSubtree));
}

/** `minimum` and `maximum` are not used with any form of name by the profile, so a subtree is its base alone. */
function readSubtree(subtree: DerValue): GeneralName {
  return readName(subtree.as(derTag.sequence).part());
}

function readName(name: DerValue): GeneralName {
  if ((name.tag & 0xc0) !== 0x80) throw new MalformedDer();
  const form = name.tag & 0x1f;
  // IA5String: a byte above 0x7f becomes a character that no SPIFFE ID has, and is refused there.
  return { form, text: form === nameForm.uri ? name.latin1() : '' };
}

function listOf(extension: Extension | undefined): readonly DerValue[] {
  return extension === undefined ? [] : extension.value.as(derTag.sequence).parts();
}
