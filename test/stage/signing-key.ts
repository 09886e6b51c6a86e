import { constants, createHash, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';
import { calculateJwkThumbprint, type JWK } from 'jose';

/** A key pair of a caller or an issuer, for one algorithm. */
export interface SigningKey {
  readonly alg: string;
  readonly privateKey: KeyObject;
  /** Public half, without `kid`, `use` and `alg`. */
  readonly jwk: JWK;
  /** RFC 7638 thumbprint. */
  readonly jkt: string;
}

/** JSON that is written as it is: for what no serialiser would write. */
export interface RawJson {
  readonly raw: string | Buffer;
}

const curves: Readonly<Record<string, string>> = {
  ES256: 'P-256',
  ES384: 'P-384',
  ES512: 'P-521',
  ES256K: 'secp256k1',
};

/** Makes a key for a JWS algorithm of RFC 7518, 8037 or 9864. @param bits of an RSA modulus. */
export async function makeKey(alg = 'ES256', bits = 2048): Promise<SigningKey> {
  const namedCurve = curves[alg];
  const { privateKey, publicKey } =
    namedCurve !== undefined
      ? generateKeyPairSync('ec', { namedCurve })
      : alg.startsWith('Ed')
        ? generateKeyPairSync('ed25519')
        : generateKeyPairSync('rsa', { modulusLength: bits });
  const jwk = publicKey.export({ format: 'jwk' }) as JWK;
  return { alg, privateKey, jwk, jkt: await calculateJwkThumbprint(jwk) };
}

/** A compact JWS of any header and payload: also those that no library would sign. */
export function signJws(header: object | RawJson, payload: object | RawJson, key: SigningKey): string {
  const input = `${encode(header)}.${encode(payload)}`;
  return `${input}.${signatureOf(input, key).toString('base64url')}`;
}

/** The signature of a JWS signing input, as the algorithm of the key says. */
function signatureOf(input: string, { alg, privateKey }: SigningKey): Buffer {
  const data = Buffer.from(input);
  const hash = alg.startsWith('Ed') ? null : `sha${/\d{3}/.exec(alg)?.[0] ?? '256'}`;
  if (alg.startsWith('ES')) return sign(hash, data, { key: privateKey, dsaEncoding: 'ieee-p1363' });
  if (!alg.startsWith('PS')) return sign(hash, data, privateKey);
  const padding = constants.RSA_PKCS1_PSS_PADDING;
  return sign(hash, data, { key: privateKey, padding, saltLength: constants.RSA_PSS_SALTLEN_DIGEST });
}

/** One part of a compact JWS. */
export function encode(value: object | RawJson): string {
  const text = 'raw' in value ? value.raw : JSON.stringify(value);
  return Buffer.from(text as string).toString('base64url');
}

/** What a DPoP proof is made for. */
export interface Proved {
  readonly method: string;
  /** `htu`, as it will stand in the proof. */
  readonly url: string;
  /** Access token of `ath`; without it there is none. */
  readonly token?: string | undefined;
  readonly nonce?: string | undefined;
  /** Value of `Waybill-Delegation` that comes with it. */
  readonly chain?: string | undefined;
}

/** What differs from an honest proof. A member that is undefined is left out. */
export interface ProofChanges {
  readonly header?: Readonly<Record<string, unknown>>;
  readonly claims?: Readonly<Record<string, unknown>>;
}

/** A DPoP proof (RFC 9449 4.2), fresh unless the changes say otherwise. */
export function makeProof(proved: Proved, key: SigningKey, { header, claims }: ProofChanges = {}): string {
  const { method, url, token, nonce, chain } = proved;
  return signJws(
    { typ: 'dpop+jwt', alg: key.alg, jwk: key.jwk, ...header },
    {
      jti: randomBytes(12).toString('base64url'),
      htm: method,
      htu: url,
      iat: Math.floor(Date.now() / 1000),
      ath: token === undefined ? undefined : digest(token),
      nonce,
      wbd: chain === undefined ? undefined : digest(chain),
      ...claims,
    },
    key,
  );
}

/** base64url SHA-256, as `ath`, `wbd` and `prev` are. */
export function digest(text: string | Buffer): string {
  return createHash('sha256').update(text).digest('base64url');
}
