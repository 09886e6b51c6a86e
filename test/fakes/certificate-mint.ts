import 'reflect-metadata';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';
import { KeyObject, randomBytes, webcrypto } from 'node:crypto';

/** A certificate with its key, which may sign further ones. */
export interface Minted {
  readonly der: Buffer;
  readonly keys: webcrypto.CryptoKeyPair;
  readonly privateKey: KeyObject;
  readonly subject: string;
}

/** What a certificate is made of; left out, it is that of a good leaf or authority. */
export interface Recipe {
  readonly subject?: string;
  readonly uris?: readonly string[];
  readonly dns?: readonly string[];
  readonly ca?: boolean;
  readonly pathLength?: number;
  /** `false` leaves the extension out. */
  readonly usage?: KeyUsageFlags | false;
  readonly usageCritical?: boolean;
  readonly purposes?: readonly string[] | false;
  readonly extra?: readonly Extension[];
  readonly notBefore?: number;
  readonly notAfter?: number;
  readonly algorithm?: webcrypto.EcKeyGenParams | webcrypto.RsaHashedKeyGenParams;
  /** Keys to use in place of new ones. */
  readonly keys?: webcrypto.CryptoKeyPair;
  /** Hex; a random one where it is not said. */
  readonly serial?: string;
  /** Hash of the signature; SHA-256. */
  readonly hash?: string;
}

const p256 = { name: 'ECDSA', namedCurve: 'P-256' } as const;
/** Bits of the extension keyUsage. */
export const usages = KeyUsageFlags;
const { digitalSignature, keyCertSign, cRLSign } = usages;
let count = 0;

/** Makes an authority; self-signed without an issuer. */
export function mintAuthority(issuer: Minted | undefined, recipe: Recipe = {}): Promise<Minted> {
  count += 1;
  return mint(issuer, {
    subject: `O=Test, CN=authority ${count}`,
    uris: ['spiffe://example.org'],
    ca: true,
    usage: keyCertSign | cRLSign,
    purposes: false,
    ...recipe,
  });
}

/** Makes a leaf, `spiffe://example.org/agent` unless told otherwise. */
export function mintLeaf(issuer: Minted | undefined, recipe: Recipe = {}): Promise<Minted> {
  return mint(issuer, {
    subject: 'O=Test',
    uris: ['spiffe://example.org/agent'],
    ca: false,
    usage: digitalSignature,
    purposes: [ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth],
    ...recipe,
  });
}

async function mint(issuer: Minted | undefined, recipe: Recipe): Promise<Minted> {
  const keys = recipe.keys ?? (await webcrypto.subtle.generateKey(recipe.algorithm ?? p256, true, ['sign', 'verify']));
  const { subject = '' } = recipe;
  const signer = issuer?.keys ?? keys;
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x01;
  const certificate = await X509CertificateGenerator.create(
    {
      serialNumber: recipe.serial ?? serial.toString('hex'),
      subject,
      issuer: issuer?.subject ?? subject,
      notBefore: new Date(recipe.notBefore ?? Date.now() - 10_000),
      notAfter: new Date(recipe.notAfter ?? Date.now() + 3_600_000),
      publicKey: keys.publicKey,
      signingKey: signer.privateKey,
      signingAlgorithm: { name: signer.privateKey.algorithm.name, hash: recipe.hash ?? 'SHA-256' },
      extensions: extensionsOf(recipe),
    },
    webcrypto,
  );
  return { der: Buffer.from(certificate.rawData), keys, privateKey: KeyObject.from(keys.privateKey), subject };
}

function extensionsOf(recipe: Recipe): Extension[] {
  const { ca = false, usage = digitalSignature, usageCritical = true, purposes = false } = recipe;
  const names = [
    ...(recipe.uris ?? []).map((value) => ({ type: 'url' as const, value })),
    ...(recipe.dns ?? []).map((value) => ({ type: 'dns' as const, value })),
  ];
  return [
    new BasicConstraintsExtension(ca, recipe.pathLength, true),
    ...(usage === false ? [] : [new KeyUsagesExtension(usage, usageCritical)]),
    ...(purposes === false ? [] : [new ExtendedKeyUsageExtension([...purposes])]),
    ...(names.length === 0 ? [] : [new SubjectAlternativeNameExtension(names)]),
    ...(recipe.extra ?? []),
  ];
}

/** An extension of any kind; `value` is the DER inside it. */
export function extension(oid: string, critical: boolean, value: Buffer): Extension {
  return new Extension(oid, critical, value);
}

/** One DER value with a short or a two-byte length. */
export function der(tag: number, ...bodies: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(bodies);
  const length =
    body.length < 0x80
      ? [body.length]
      : body.length < 0x100
        ? [0x81, body.length]
        : [0x82, body.length >> 8, body.length & 0xff];
  return Buffer.concat([Buffer.of(tag, ...length), body]);
}

/** Name constraints (RFC 5280 4.2.1.10) by the tag of their names: 6 URI, 2 DNS, 4 directory. */
export function nameConstraints(
  permitted: readonly [number, string][],
  excluded: readonly [number, string][] = [],
): Extension {
  const subtrees = (names: readonly [number, string][]): Buffer =>
    Buffer.concat(names.map(([form, text]) => der(0x30, der((form === 4 ? 0xa0 : 0x80) | form, Buffer.from(text)))));
  const kinds = [
    ...(permitted.length === 0 ? [] : [der(0xa0, subtrees(permitted))]),
    ...(excluded.length === 0 ? [] : [der(0xa1, subtrees(excluded))]),
  ];
  return new Extension('2.5.29.30', true, der(0x30, ...kinds));
}

/** The same certificate, unsigned: its second time becomes the 32nd of a 13th month. */
export function withoutEnd(certificate: Buffer): Buffer {
  const [, end] = [...certificate.toString('latin1').matchAll(/\d{12}Z/g)];
  const spoilt = Buffer.from(certificate);
  spoilt.write('991332250000Z', end?.index ?? 0, 'latin1');
  return spoilt;
}
