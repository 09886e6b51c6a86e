import type { KeyObject } from 'node:crypto';

/**
 * Whether an RSA signature has as many octets as the modulus of its key (RFC 8017 8.1.2). OpenSSL asks that of PKCS #1 v1.5 only: one of
 * RSA-PSS that begins with a zero is taken without it too, and is a second spelling of what it signs, which anybody can write.
 */
export function isWholeRsaSignature(key: KeyObject, signature: Buffer): boolean {
  return signature.length === Math.ceil((key.asymmetricKeyDetails?.modulusLength ?? 0) / 8);
}
