import { constants, sign, verify, type KeyObject } from 'node:crypto';

/** How an algorithm of RFC 7518 3.1 is made with node:crypto: hash, kind of key, length of an ECDSA signature, salt of RSA-PSS. */
interface Algorithm {
  readonly hash: string;
  readonly kind: string;
  readonly bytes?: number;
  readonly salt?: number;
}

const algorithms: ReadonlyMap<string, Algorithm> = new Map([
  ['ES256', { hash: 'sha256', kind: 'prime256v1', bytes: 64 }],
  ['ES384', { hash: 'sha384', kind: 'secp384r1', bytes: 96 }],
  ['ES512', { hash: 'sha512', kind: 'secp521r1', bytes: 132 }],
  ['RS256', { hash: 'sha256', kind: 'rsa' }],
  ['RS384', { hash: 'sha384', kind: 'rsa' }],
  ['RS512', { hash: 'sha512', kind: 'rsa' }],
  ['PS256', { hash: 'sha256', kind: 'rsa', salt: 32 }],
  ['PS384', { hash: 'sha384', kind: 'rsa', salt: 48 }],
  ['PS512', { hash: 'sha512', kind: 'rsa', salt: 64 }],
]);

/** The algorithms of JWT-SVID 2.1, which are also those of our delegation links. `none`, the HMACs and EdDSA are not among them. */
export function isSvidAlgorithm(alg: unknown): alg is string {
  return typeof alg === 'string' && algorithms.has(alg);
}

/** The algorithm that a key of an SVID signs with: the one of its curve, and RS256 for RSA. Undefined for keys of other kinds. */
export function algorithmOf(key: KeyObject): string | undefined {
  const kind = kindOf(key);
  for (const [name, algorithm] of algorithms) if (algorithm.kind === kind) return name;
  return undefined;
}

/** Signs the text `header.payload`; the algorithm is one that `algorithmOf` gave for this key. */
export function signJws(alg: string, key: KeyObject, input: string): string {
  const algorithm = algorithms.get(alg);
  if (algorithm === undefined || algorithm.kind !== kindOf(key)) throw new Error('the key is not for this algorithm');
  return sign(algorithm.hash, Buffer.from(input), { key, ...optionsOf(algorithm) }).toString('base64url');
}

/** Whether this key made the signature with exactly this algorithm. A key of another kind did not, and RSA below 2048 bits proves nothing. */
export function isJwsSignature(alg: string, key: KeyObject, input: string, signature: Buffer): boolean {
  const algorithm = algorithms.get(alg);
  if (algorithm === undefined || algorithm.kind !== kindOf(key)) return false;
  // RSA has the length of its modulus (RFC 8017 8.1.2): OpenSSL takes one of RSA-PSS without a zero in front, a second spelling of it.
  const bytes = algorithm.bytes ?? Math.ceil((key.asymmetricKeyDetails?.modulusLength ?? 0) / 8);
  if (signature.length !== bytes) return false;
  try {
    return verify(algorithm.hash, Buffer.from(input), { key, ...optionsOf(algorithm) }, signature);
  } catch {
    return false;
  }
}

/** The curve, or `rsa`; a key for RSA-PSS only (`rsa-pss`) carries rules of its own and is none of them. */
function kindOf({ asymmetricKeyType: type, asymmetricKeyDetails: details }: KeyObject): string | undefined {
  if (type === 'ec') return details?.namedCurve;
  return type === 'rsa' && (details?.modulusLength ?? 0) >= 2048 ? 'rsa' : undefined;
}

function optionsOf({ bytes, salt }: Algorithm): object {
  if (bytes !== undefined) return { dsaEncoding: 'ieee-p1363' };
  if (salt === undefined) return { padding: constants.RSA_PKCS1_PADDING };
  return { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: salt };
}
