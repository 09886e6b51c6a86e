import { constants, createHash, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';

/** A key of a caller of a test, for one algorithm of proofs. */
export interface CallerKey {
  readonly alg: string;
  readonly privateKey: KeyObject;
  readonly jwk: Readonly<Record<string, unknown>>;
}

const makers: Readonly<Record<string, () => { publicKey: KeyObject; privateKey: KeyObject }>> = {
  ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ES384: () => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  ES512: () => generateKeyPairSync('ec', { namedCurve: 'P-521' }),
  EdDSA: () => generateKeyPairSync('ed25519'),
  RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
};
const digests: Readonly<Record<string, string | null>> = {
  ES384: 'sha384',
  ES512: 'sha512',
  RS512: 'sha512',
  EdDSA: null,
  Ed25519: null,
};

export function makeCallerKey(alg: string = 'ES256'): CallerKey {
  const maker = makers[alg] ?? makers[alg === 'Ed25519' ? 'EdDSA' : 'RS256'];
  const { publicKey, privateKey } = maker!();
  return { alg, privateKey, jwk: { ...publicKey.export({ format: 'jwk' }) } };
}

/** The signature of a compact JWS over this input (RFC 7518 3). */
export function signInput(input: string, { alg, privateKey }: CallerKey): Buffer {
  const options = alg.startsWith('PS')
    ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
    : alg.startsWith('ES')
      ? { dsaEncoding: 'ieee-p1363' as const }
      : {};
  const digest = alg in digests ? digests[alg] : 'sha256';
  return sign(digest, Buffer.from(input), { key: privateKey, ...options });
}

/** A compact JWS of any header and payload, as objects or as JSON text, whether they make sense or not. */
export function forge(header: object | string, payload: object | string, key: CallerKey): string {
  const input = [header, payload]
    .map((part) => encode(typeof part === 'string' ? part : JSON.stringify(part)))
    .join('.');
  return `${input}.${signInput(input, key).toString('base64url')}`;
}

/** A proof with these claims and a good header; what is undefined is left out. */
export function forgeProof(key: CallerKey, claims: object, header: object = {}): string {
  return forge({ typ: 'dpop+jwt', alg: key.alg, jwk: key.jwk, ...header }, claims, key);
}

export function encode(text: string): string {
  return Buffer.from(text).toString('base64url');
}

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}
