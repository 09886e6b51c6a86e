import { hash, type KeyObject } from 'node:crypto';
import { algorithmOf, isJwsSignature, isSvidAlgorithm, signJws } from '../spiffe/jws-signature.ts';
import { isObject, parseStrictJson } from '../trust/strict-json.ts';
import { InvalidToken, isSeconds, readStrictJws, type StrictJws } from '../trust/strict-jws.ts';
import { readMay, type May } from './may.ts';

/** Who the delegation began with: the subject of the token that the first Waybill verified. */
export interface ChainRoot {
  readonly iss: string;
  readonly sub: string;
  /** base64url SHA-256 of the token's `jti`, or of the token where it has none. */
  readonly jti_hash: string;
}

/** What one hop states (DESIGN 6). Times are whole seconds; hashes are base64url SHA-256. Exactly one of `prev` and `root` is there. */
export interface LinkClaims {
  /** SPIFFE ID of the hop: that of the certificate in `x5c`. */
  readonly iss: string;
  /** The root subject, the same in every link. */
  readonly sub: string;
  readonly sub_iss: string;
  /** Resource of the tool that the link is for. */
  readonly aud: string;
  readonly txn: string;
  readonly purpose: string;
  readonly may: May;
  /** Thumbprint of the hop's DPoP key for this task. */
  readonly cnf: { readonly jkt: string };
  /** Hash of the text of the link before. */
  readonly prev?: string;
  /** On the first link only. */
  readonly root?: ChainRoot;
  readonly iat: number;
  readonly exp: number;
}

/** The X.509-SVID that a link is signed with. */
export interface LinkIdentity {
  readonly spiffeId: string;
  /** DER certificates, leaf first, without the authority of the bundle. */
  readonly chain: readonly Buffer[];
  readonly privateKey: KeyObject;
}

/** A link that was read strictly. Its signature and its SVID are still to be verified. */
export interface Link {
  readonly text: string;
  readonly alg: string;
  /** DER certificates, leaf first. */
  readonly x5c: readonly Buffer[];
  readonly claims: LinkClaims;
}

const typ = 'waybill-delegation+jwt';
const digestShape = /^[A-Za-z0-9_-]{43}$/;

/** The key of an SVID is of a kind that links are not signed with, such as Ed25519 (JWT-SVID 2.1). */
export class UnsuitableKey extends Error {
  override readonly name = 'UnsuitableKey';

  constructor() {
    super('the key of the SVID is for no algorithm of links');
  }
}

/** One link as a compact JWS. `iss` is the identity's own. Throws UnsuitableKey. */
export function signLink(identity: LinkIdentity, claims: Omit<LinkClaims, 'iss'>): string {
  const alg = algorithmOf(identity.privateKey);
  if (alg === undefined) throw new UnsuitableKey();
  // RFC 7515 4.1.6: base64 with padding, not base64url.
  const x5c = identity.chain.map((der) => der.toString('base64'));
  const input = `${encode({ alg, typ, x5c })}.${encode({ iss: identity.spiffeId, ...claims })}`;
  return `${input}.${signJws(alg, identity.privateKey, input)}`;
}

/** Reads one link; undefined where anything about it is malformed. */
export function readLink(text: string): Link | undefined {
  const jws = readJws(text);
  // Keys come from `x5c` alone; a link that brings another one along is not from a Waybill.
  if (jws?.header.typ !== typ || jws.header.ignored.join() !== 'x5c' || !isSvidAlgorithm(jws.header.alg))
    return undefined;
  const x5c = readCertificates(text);
  const claims = readClaims(jws.payload);
  return x5c === undefined || claims === undefined ? undefined : { text, alg: jws.header.alg, x5c, claims };
}

/** Whether this key signed the link. */
export function isSignedBy({ text, alg }: Link, key: KeyObject): boolean {
  const end = text.lastIndexOf('.');
  return isJwsSignature(alg, key, text.slice(0, end), Buffer.from(text.slice(end + 1), 'base64url'));
}

/** What the next link's `prev` says of this one, and `wbd` of a whole header value. */
export function digestOf(text: string): string {
  return hash('sha256', text, 'base64url');
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

function readJws(text: string): StrictJws | undefined {
  try {
    return readStrictJws(text);
  } catch (error) {
    if (error instanceof InvalidToken) return undefined;
    throw error;
  }
}

/** `x5c` of a header that was found to be strict JSON. */
function readCertificates(text: string): readonly Buffer[] | undefined {
  const { x5c } = parseStrictJson(Buffer.from(text.slice(0, text.indexOf('.')), 'base64url').toString());
  if (!Array.isArray(x5c) || x5c.length === 0) return undefined;
  const certificates: Buffer[] = [];
  for (const entry of x5c) {
    const der = Buffer.from(typeof entry === 'string' ? entry : '', 'base64');
    // The decoder skips what it does not know: only what it would have written itself is base64.
    if (der.length === 0 || der.toString('base64') !== entry) return undefined;
    certificates.push(der);
  }
  return certificates;
}

/** The claims, each in its proper form; others that may stand beside them are ignored (RFC 7519 4). */
function readClaims(payload: Readonly<Record<string, unknown>>): LinkClaims | undefined {
  const { iss, sub, sub_iss: subIssuer, aud, txn, purpose, cnf, prev, root: written, iat, exp, nbf } = payload;
  if (!isText(iss) || !isText(sub) || !isText(aud) || !isText(txn)) return undefined;
  if (typeof subIssuer !== 'string' || typeof purpose !== 'string') return undefined;
  const may = readMay(payload['may']);
  if (may === undefined || !isObject(cnf) || !isDigest(cnf['jkt'])) return undefined;
  // A link is born valid: with a start of its own it would be good for somebody later.
  if (!isSeconds(iat) || !isSeconds(exp) || nbf !== undefined) return undefined;
  const claims = { iss, sub, sub_iss: subIssuer, aud, txn, purpose, may, cnf: { jkt: cnf['jkt'] }, iat, exp };
  if (written === undefined) return isDigest(prev) ? { ...claims, prev } : undefined;
  const root = readRoot(written);
  return root === undefined || prev !== undefined ? undefined : { ...claims, root };
}

function readRoot(value: unknown): ChainRoot | undefined {
  if (!isObject(value)) return undefined;
  const { iss, sub, jti_hash: hashed } = value;
  return typeof iss === 'string' && isText(sub) && isDigest(hashed) ? { iss, sub, jti_hash: hashed } : undefined;
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}

/** SHA-256 in base64url. */
function isDigest(value: unknown): value is string {
  return typeof value === 'string' && digestShape.test(value);
}
