import { verify, type KeyObject } from 'node:crypto';

/** Hash and kind of key of a signature. */
interface Algorithm {
  readonly kind: 'ec' | 'rsa' | 'ed25519';
  /** Undefined where the algorithm has its own. */
  readonly hash: string | undefined;
}

/**
 * By object identifier, hex: ECDSA and RSA PKCS#1 v1.5, each with SHA-256, 384 and 512, and Ed25519. SHA-1 and MD5 are not there: they
 * can be forged.
 */
const algorithms: ReadonlyMap<string, Algorithm> = new Map([
  ['2a8648ce3d040302', { kind: 'ec', hash: 'sha256' }],
  ['2a8648ce3d040303', { kind: 'ec', hash: 'sha384' }],
  ['2a8648ce3d040304', { kind: 'ec', hash: 'sha512' }],
  ['2a864886f70d01010b', { kind: 'rsa', hash: 'sha256' }],
  ['2a864886f70d01010c', { kind: 'rsa', hash: 'sha384' }],
  ['2a864886f70d01010d', { kind: 'rsa', hash: 'sha512' }],
  ['2b6570', { kind: 'ed25519', hash: undefined }],
]);

/** Whether a signature of this algorithm proves anything. */
export function isStrongSignature(algorithm: string): boolean {
  return algorithms.has(algorithm);
}

/** Whether this key made the signature, by an algorithm that is strong and of the key's kind. */
export function isSignedWith(key: KeyObject, algorithm: string, signed: Buffer, signature: Buffer): boolean {
  const known = algorithms.get(algorithm);
  if (known === undefined || known.kind !== key.asymmetricKeyType) return false;
  try {
    return verify(known.hash, signed, key, signature);
  } catch {
    return false;
  }
}
