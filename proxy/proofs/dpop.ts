import { generateKeyPairSync, hash, sign, type KeyObject } from 'node:crypto';

/** What a proof says (RFC 9449 4.2). Times are whole seconds; `htu` carries neither query nor fragment. */
export interface DpopClaims {
  readonly htm: string;
  readonly htu: string;
  readonly iatSeconds: number;
  /** Fresh for every send, also on a retry; base64url, so that it needs no escaping. */
  readonly jti: string;
  /** `base64url(SHA-256(token))`: at a tool always, at the token endpoint never. */
  readonly ath?: string | undefined;
  /** The newest nonce of the server that the proof is for. */
  readonly nonce?: string | undefined;
  /** `base64url(SHA-256)` of the `Waybill-Delegation` header beside it, which ties the chain to this request (DESIGN 6). */
  readonly wbd?: string | undefined;
}

/**
 * The P-256 key that tokens are bound to. It signs DPoP proofs and nothing else: the header with `typ: dpop+jwt` stands in front of
 * whatever is signed, so the key cannot be led into making another kind of token (RFC 8725 3.11).
 */
export class ProofKey {
  readonly #signing: { readonly key: KeyObject; readonly dsaEncoding: 'ieee-p1363' };
  readonly #headerDot: string;
  /** RFC 7638 SHA-256 thumbprint of the public key: what `cnf.jkt` of a bound token must be. */
  readonly jkt: string;

  /** @param privateKey a private key on P-256; any other key is a programming fault. */
  constructor(privateKey: KeyObject) {
    const { kty, crv, x, y } = privateKey.export({ format: 'jwk' });
    if (privateKey.type !== 'private' || kty !== 'EC' || crv !== 'P-256') throw new Error('a proof key is a P-256 key');
    this.#signing = { key: privateKey, dsaEncoding: 'ieee-p1363' };
    // Built member by member: an exported private JWK holds `d`, and must never be near a header.
    const header = JSON.stringify({ typ: 'dpop+jwt', alg: 'ES256', jwk: { kty, crv, x, y } });
    this.#headerDot = `${Buffer.from(header).toString('base64url')}.`;
    this.jkt = thumbprint({ crv, x, y });
  }

  /** The compact JWS over this payload (JSON text). About 30 us, nearly all of it the signature. */
  signPayload(payload: string): string {
    const input = this.#headerDot + Buffer.from(payload).toString('base64url');
    return `${input}.${sign('sha256', Buffer.from(input), this.#signing).toString('base64url')}`;
  }
}

/** RFC 7638 SHA-256 thumbprint of a public EC key: its required members in alphabetical order, without spaces. */
export function thumbprint({ crv, x, y }: { crv: string; x: unknown; y: unknown }): string {
  return hash('sha256', JSON.stringify({ crv, kty: 'EC', x, y }), 'base64url');
}

/** A new key, held in memory only: a proof key is never stored (RFC 9449 11.4 and our own custody rule). */
export function makeProofKey(): ProofKey {
  return new ProofKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
}

/** One proof for one request, as the value of the `DPoP` header. Synchronous: it is made on the path of every bound call. */
export function makeDpopProof(key: ProofKey, claims: DpopClaims): string {
  // JSON text by hand: stringify of an object costs more than all of these. What others chose (method, URL, nonce) is escaped.
  let payload = `{"jti":"${claims.jti}","htm":${JSON.stringify(claims.htm)},"htu":${JSON.stringify(claims.htu)},"iat":${claims.iatSeconds}`;
  if (claims.ath !== undefined) payload += `,"ath":"${claims.ath}"`;
  if (claims.nonce !== undefined) payload += `,"nonce":${JSON.stringify(claims.nonce)}`;
  if (claims.wbd !== undefined) payload += `,"wbd":"${claims.wbd}"`;
  return key.signPayload(`${payload}}`);
}
