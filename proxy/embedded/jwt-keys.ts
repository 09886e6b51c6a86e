import { generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';

/** A public P-256 key that signs JWT-SVIDs. */
export interface PublicJwk {
  readonly kty: 'EC';
  readonly crv: 'P-256';
  readonly kid: string;
  readonly x: string;
  readonly y: string;
}

/** Claims of a JWT-SVID (JWT-SVID 3); times in seconds. */
export interface JwtClaims {
  readonly sub: string;
  readonly aud: readonly string[];
  readonly iss: string;
  readonly iat: number;
  readonly exp: number;
}

/** A key that signs and the public half that stands in the bundle. */
interface JwtKey {
  readonly privateKey: KeyObject;
  readonly publicJwk: PublicJwk;
}

/** The ES256 keys of an authority: the newest signs, the one before still verifies. */
export class JwtKeys {
  #newest = generate();
  #before: JwtKey | undefined;

  /** A compact JWS with `typ: JWT` and the key's kid. */
  sign(claims: JwtClaims): string {
    const { privateKey, publicJwk } = this.#newest;
    const signed = `${encode({ alg: 'ES256', kid: publicJwk.kid, typ: 'JWT' })}.${encode(claims)}`;
    const signature = sign('sha256', Buffer.from(signed), { key: privateKey, dsaEncoding: 'ieee-p1363' });
    return `${signed}.${signature.toString('base64url')}`;
  }

  /** Makes a new signing key. Only one earlier key is kept: of two rotations within a token's life the first ends tokens early. */
  rotate(): void {
    this.#before = this.#newest;
    this.#newest = generate();
  }

  /** The keys of the bundle, the signing one first. */
  publicKeys(): readonly PublicJwk[] {
    return [this.#newest, this.#before].flatMap((key) => (key === undefined ? [] : [key.publicJwk]));
  }
}

function generate(): JwtKey {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { x, y } = publicKey.export({ format: 'jwk' });
  if (x === undefined || y === undefined) throw new Error('an EC key was exported without its point');
  const kid = randomBytes(16).toString('base64url');
  return { privateKey, publicJwk: { kty: 'EC', crv: 'P-256', kid, x, y } };
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}
