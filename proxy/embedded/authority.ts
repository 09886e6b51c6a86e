import 'reflect-metadata';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
  type Extension,
} from '@peculiar/x509';
import { KeyObject, randomBytes, webcrypto } from 'node:crypto';
import { JwtKeys, type JwtClaims, type PublicJwk } from './jwt-keys.ts';

/** A fresh X509-SVID in the forms of the Workload API: DER chain (here one certificate) and PKCS#8 DER key. */
export interface IssuedX509 {
  readonly chainDer: Buffer;
  readonly keyDer: Buffer;
  readonly expiresAtMs: number;
}

/** What others verify SVIDs of this trust domain with. The JWKs carry no `use`, as SPIRE's Workload API gives them. */
export interface AuthorityBundle {
  readonly x509Der: Buffer;
  readonly x509Pem: string;
  readonly jwks: { readonly keys: readonly PublicJwk[] };
}

const keyAlgorithm = { name: 'ECDSA', namedCurve: 'P-256' } as const;
const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-256' } as const;
/** Clocks of containers differ a little: a certificate that begins this very second is refused by half of them. */
const backdateMs = 10_000;
const caLifeMs = 24 * 3_600_000;

/** Makes the authority of a new trust domain, with fresh keys in memory only. For the demo and for tests, never for production. */
export async function openAuthority(trustDomain: string): Promise<Authority> {
  const keys = await webcrypto.subtle.generateKey(keyAlgorithm, false, ['sign', 'verify']);
  const now = Date.now();
  const certificate = await X509CertificateGenerator.createSelfSigned(
    {
      ...serialAndLife(now + caLifeMs),
      name: `O=Waybill embedded, CN=${trustDomain}`,
      keys,
      signingAlgorithm,
      // X509-SVID 3 and 4: a signing certificate is named by its trust domain alone and may sign certificates.
      extensions: [
        new BasicConstraintsExtension(true, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        new SubjectAlternativeNameExtension([{ type: 'url', value: `spiffe://${trustDomain}` }]),
        await SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
      ],
    },
    webcrypto,
  );
  return new Authority(trustDomain, keys, Buffer.from(certificate.rawData));
}

/** The signing keys of one trust domain; several Workload API servers may share it. */
export class Authority {
  readonly trustDomain: string;
  readonly #keys: webcrypto.CryptoKeyPair;
  readonly #certificate: Buffer;
  readonly #jwtKeys = new JwtKeys();
  readonly #listeners = new Set<() => void>();

  constructor(trustDomain: string, keys: webcrypto.CryptoKeyPair, certificate: Buffer) {
    this.trustDomain = trustDomain;
    this.#keys = keys;
    this.#certificate = certificate;
  }

  /** Issues an X509-SVID with a new key (PROTOCOLS 3.3: one URI name, no CA, digitalSignature only). */
  async issueX509(spiffeId: string, ttlSeconds: number): Promise<IssuedX509> {
    const keys = await webcrypto.subtle.generateKey(keyAlgorithm, true, ['sign', 'verify']);
    const expiresAtMs = Math.floor(Date.now() / 1000 + ttlSeconds) * 1000;
    const certificate = await X509CertificateGenerator.create(
      {
        ...serialAndLife(expiresAtMs),
        subject: 'O=Waybill embedded',
        issuer: `O=Waybill embedded, CN=${this.trustDomain}`,
        publicKey: keys.publicKey,
        signingKey: this.#keys.privateKey,
        signingAlgorithm,
        extensions: await this.#leafExtensions(spiffeId, keys.publicKey),
      },
      webcrypto,
    );
    // PKCS#8, as the Workload API demands; the key leaves this process only through the socket of its workload.
    const keyDer = KeyObject.from(keys.privateKey).export({ format: 'der', type: 'pkcs8' });
    return { chainDer: Buffer.from(certificate.rawData), keyDer, expiresAtMs };
  }

  /** Signs a JWT-SVID with the newest key. */
  issueJwt(claims: JwtClaims): string {
    return this.#jwtKeys.sign(claims);
  }

  /** Signs with a new key from now on; the key before stays in the bundle, so that tokens under way remain valid. */
  rotateJwtKey(): void {
    this.#jwtKeys.rotate();
    for (const listener of this.#listeners) listener();
  }

  /** Calls the listener after every change of the bundle, until the returned function is called. */
  onBundleChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** The keys that verify JWT-SVIDs now, the newest first. */
  bundleJwks(): readonly PublicJwk[] {
    return this.#jwtKeys.publicKeys();
  }

  /** Certificate and keys for those who verify. The signing key of the authority is not extractable. */
  bundle(): AuthorityBundle {
    const base64 = this.#certificate.toString('base64').replaceAll(/.{1,64}/g, '$&\n');
    const x509Pem = `-----BEGIN CERTIFICATE-----\n${base64}-----END CERTIFICATE-----\n`;
    return { x509Der: this.#certificate, x509Pem, jwks: { keys: this.bundleJwks() } };
  }

  /** The profile of X509-SVID 4. keyEncipherment is left out: an EC key cannot do it. */
  async #leafExtensions(spiffeId: string, publicKey: webcrypto.CryptoKey): Promise<Extension[]> {
    return [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
      new SubjectAlternativeNameExtension([{ type: 'url', value: spiffeId }]),
      await SubjectKeyIdentifierExtension.create(publicKey, false, webcrypto),
      await AuthorityKeyIdentifierExtension.create(this.#keys.publicKey, false, webcrypto),
    ];
  }
}

/** A random serial of 127 bits, so that no two certificates of any authority are mistaken for each other, and the validity. */
function serialAndLife(expiresAtMs: number): { serialNumber: string; notBefore: Date; notAfter: Date } {
  // The first bit is cleared, since DER would read it as a minus sign.
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x01;
  return {
    serialNumber: serial.toString('hex'),
    notBefore: new Date(Date.now() - backdateMs),
    notAfter: new Date(expiresAtMs),
  };
}
