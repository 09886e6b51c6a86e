import { createPrivateKey, type KeyObject, sign } from 'node:crypto';
import { UnprovenRefusal } from '../../refusal.ts';
import { parseStrictJson } from '../../trust/strict-json.ts';

/** How one algorithm signs: the hash, and the form of the signature (RFC 7518 3, RFC 8037 3.1). */
interface Signature {
  readonly hash: 'sha256' | 'sha384' | null;
  readonly dsaEncoding?: 'ieee-p1363';
  /** Only with PS256: the salt is as long as the hash (RFC 7518 3.5). */
  readonly padding?: number;
  readonly saltLength?: number;
}

/** Constants of OpenSSL: RSA_PKCS1_PSS_PADDING. */
const pss = { padding: 6, saltLength: 32 } as const;

const signatures = {
  ES256: { hash: 'sha256', dsaEncoding: 'ieee-p1363' },
  ES384: { hash: 'sha384', dsaEncoding: 'ieee-p1363' },
  RS256: { hash: 'sha256' },
  PS256: { hash: 'sha256', ...pss },
  EdDSA: { hash: null },
  Ed25519: { hash: null },
} as const satisfies Record<string, Signature>;

type Algorithm = keyof typeof signatures;

/** The algorithms of a kind of key; the first is used where the key itself does not say. */
const algorithmsOf: Readonly<Record<string, readonly Algorithm[]>> = {
  'P-256': ['ES256'],
  'P-384': ['ES384'],
  // What every OpenID provider must support stands before what is newer.
  RSA: ['RS256', 'PS256'],
  Ed25519: ['EdDSA', 'Ed25519'],
};

const minRsaBits = 2048;

/** A private key of ours from a file. It signs and is never shown (W8). */
export class SigningKey {
  readonly #key: KeyObject;
  readonly #signature: Signature;
  readonly alg: Algorithm;
  /** Name of the key at the service, where the file says it. */
  readonly kid: string | undefined;

  constructor(key: KeyObject, alg: Algorithm, kid: string | undefined) {
    this.#key = key;
    this.#signature = signatures[alg];
    this.alg = alg;
    this.kid = kid;
  }

  /** A compact JWS over these claims. @param header members besides `alg`. */
  sign(header: Readonly<Record<string, string>>, claims: object): string {
    const input = `${encoded({ alg: this.alg, ...header })}.${encoded(claims)}`;
    const { hash, ...form } = this.#signature;
    return `${input}.${sign(hash, Buffer.from(input), { key: this.#key, ...form }).toString('base64url')}`;
  }
}

function encoded(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url');
}

/**
 * Reads a key: PEM (PKCS#8) or a private JWK, on P-256 or P-384, RSA of 2048 bits or more, or Ed25519. Throws `identity_unavailable`; the
 * errors of the libraries could quote what they read.
 * @param file that it is of, for the record.
 */
export function parseSigningKey(text: string, file: string): SigningKey {
  const jwk = text.trimStart().startsWith('{') ? parseJwk(text, file) : undefined;
  const key = parseKey(jwk ?? text, file);
  const allowed = algorithmsOf[kindOf(key)] ?? [];
  // A JWK may narrow what its key is good for (RFC 7517 4.2, 4.4).
  if (jwk?.['use'] !== undefined && jwk['use'] !== 'sig') throw unusable(file);
  const alg = jwk?.['alg'] === undefined ? allowed[0] : allowed.find((name) => name === jwk['alg']);
  if (alg === undefined) throw unusable(file);
  return new SigningKey(key, alg, typeof jwk?.['kid'] === 'string' ? jwk['kid'] : undefined);
}

function parseJwk(text: string, file: string): Record<string, unknown> {
  try {
    return parseStrictJson(text);
  } catch {
    throw unusable(file);
  }
}

function parseKey(source: string | Record<string, unknown>, file: string): KeyObject {
  try {
    return typeof source === 'string' ? createPrivateKey(source) : createPrivateKey({ key: source, format: 'jwk' });
  } catch {
    throw unusable(file);
  }
}

/** Name of the curve, or `RSA`; anything else is no kind that we sign with. */
function kindOf(key: KeyObject): string {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details = {} } = key;
  if (type === 'ed25519') return 'Ed25519';
  if (type === 'rsa') return (details.modulusLength ?? 0) >= minRsaBits ? 'RSA' : '';
  if (type !== 'ec') return '';
  return details.namedCurve === 'prime256v1' ? 'P-256' : details.namedCurve === 'secp384r1' ? 'P-384' : '';
}

function unusable(file: string): UnprovenRefusal {
  return new UnprovenRefusal('The client key of a token service cannot be used.', 'unusable', file);
}
