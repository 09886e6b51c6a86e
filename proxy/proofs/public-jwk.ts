import { constants, createPublicKey, hash, verify, type KeyObject } from 'node:crypto';
import { isRocaModulus } from '../trust/roca.ts';
import { isWholeRsaSignature } from '../trust/rsa-signature.ts';
import { isObject } from '../trust/strict-json.ts';

/** Kind of key of an algorithm, and how it verifies. */
interface Kind {
  readonly kty: 'EC' | 'OKP' | 'RSA';
  /** Curve, and bytes of a coordinate; RSA has neither. */
  readonly crv?: string;
  readonly bytes?: number;
  /** Undefined for EdDSA, which brings its own. */
  readonly digest?: string;
  readonly options: object;
}

const raw = { dsaEncoding: 'ieee-p1363' };
const ed25519: Kind = { kty: 'OKP', crv: 'Ed25519', bytes: 32, options: {} };
const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };

/** Algorithms of proofs. `EdDSA` and `Ed25519` are two names of one, and both are in use (RFC 9864). */
const kinds: ReadonlyMap<string, Kind> = new Map<string, Kind>([
  ['ES256', { kty: 'EC', crv: 'P-256', bytes: 32, digest: 'sha256', options: raw }],
  ['ES384', { kty: 'EC', crv: 'P-384', bytes: 48, digest: 'sha384', options: raw }],
  ['EdDSA', ed25519],
  ['Ed25519', ed25519],
  ['RS256', { kty: 'RSA', digest: 'sha256', options: { padding: constants.RSA_PKCS1_PADDING } }],
  ['PS256', { kty: 'RSA', digest: 'sha256', options: pss }],
]);

/** For `algs` of the DPoP challenge (RFC 9449 7.1). */
export const proofAlgs: readonly string[] = [...kinds.keys()];

/** Members of private and symmetric keys (RFC 7518 6.2.2, 6.3.2, 6.4). */
const privateMembers = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];

/**
 * Imported keys by thumbprint: an import, with the tables that its first verification makes, costs more than a verification. Whoever
 * verifies has found the thumbprint in a verified token before, so only verified callers get in here.
 */
const imported = new Map<string, KeyObject>();
const maxImported = 1024;

/** The public key in the header of a proof, for one algorithm. Nothing has been computed with it yet. */
class HeaderKey {
  readonly #kind: Kind;
  /** The members that make up the key, in the form of RFC 7638: what is hashed is what is imported. */
  readonly #members: string;
  /** RFC 7638 SHA-256 thumbprint. */
  readonly jkt: string;

  constructor(kind: Kind, members: string) {
    this.#kind = kind;
    this.#members = members;
    this.jkt = hash('sha256', members, 'base64url');
  }

  /** The key, or undefined where the numbers are none (a point off the curve), or such that anybody can find the private ones. */
  importKey(): KeyObject | undefined {
    const known = imported.get(this.jkt);
    if (known !== undefined) return known;
    try {
      const members: { readonly n?: string } = JSON.parse(this.#members);
      if (members.n !== undefined && isRocaModulus(members.n)) return undefined;
      const key = createPublicKey({ key: JSON.parse(this.#members), format: 'jwk' });
      const oldest = imported.size < maxImported ? undefined : imported.keys().next().value;
      if (oldest !== undefined) imported.delete(oldest);
      imported.set(this.jkt, key);
      return key;
    } catch {
      return undefined;
    }
  }

  /** Whether the key, as imported from here, made the signature with the algorithm that it was read for. */
  isSigner(key: KeyObject, input: string, signature: Buffer): boolean {
    const { kty, digest, options } = this.#kind;
    if (kty === 'RSA' && !isWholeRsaSignature(key, signature)) return false;
    try {
      return verify(digest, Buffer.from(input), { key, ...options }, signature);
    } catch {
      return false;
    }
  }
}

export type PublicJwk = HeaderKey;

/**
 * Reads a public JWK for an algorithm, before any crypto. `alg`: none for proofs. `jwk`: a key of another kind than the algorithm's, a
 * private one, one that is meant for something else, or numbers in any other than their one spelling: a key has one thumbprint.
 */
export function readPublicJwk(alg: string, jwk: unknown): PublicJwk | 'alg' | 'jwk' {
  const kind = kinds.get(alg);
  if (kind === undefined) return 'alg';
  if (!isObject(jwk) || privateMembers.some((name) => name in jwk)) return 'jwk';
  const { use = 'sig', key_ops: operations = ['verify'] } = jwk;
  if (jwk['kty'] !== kind.kty || jwk['crv'] !== kind.crv || use !== 'sig' || (jwk['alg'] ?? alg) !== alg) return 'jwk';
  if (!Array.isArray(operations) || !operations.includes('verify')) return 'jwk';
  const members = readMembers(kind, jwk);
  return members === undefined ? 'jwk' : new HeaderKey(kind, members);
}

/** The required members in alphabetical order (RFC 7638 3.2); undefined where one is no number of the right size. */
function readMembers({ kty, crv = '', bytes = 0 }: Kind, jwk: Record<string, unknown>): string | undefined {
  const { x, y, n, e } = jwk;
  if (kty === 'RSA') {
    // Other exponents are weak, or so long that one verification takes tens of milliseconds.
    return e === 'AQAB' && isNumber(n, 256, 512) ? `{"e":"AQAB","kty":"RSA","n":"${n}"}` : undefined;
  }
  if (!isNumber(x, bytes, bytes)) return undefined;
  if (kty === 'OKP') return `{"crv":"${crv}","kty":"OKP","x":"${x}"}`;
  return isNumber(y, bytes, bytes) ? `{"crv":"${crv}","kty":"EC","x":"${x}","y":"${y}"}` : undefined;
}

function isNumber(text: unknown, minBytes: number, maxBytes: number): text is string {
  if (typeof text !== 'string' || text.length > maxBytes * 2) return false;
  const bytes = Buffer.from(text, 'base64url');
  return bytes.length >= minBytes && bytes.length <= maxBytes && bytes.toString('base64url') === text;
}
