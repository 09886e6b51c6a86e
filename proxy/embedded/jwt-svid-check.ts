import { decodeJwt, decodeProtectedHeader, importJWK, jwtVerify, type JWK } from 'jose';

/** A SPIFFE trust domain whose workloads the service knows: its name, and the current keys of its bundle. */
export interface TrustDomain {
  /** Without scheme: `example.org`. */
  readonly trustDomain: string;
  readonly jwks: () => readonly JWK[];
}

/** Who a JWT-SVID speaks for. */
export interface Workload {
  readonly spiffeId: string;
  /** The optional `iss` claim; SPIRE sets it, the SPIFFE standard does not ask for it. */
  readonly issuer?: string;
}

/** JWT-SVID 2.1; `none`, the HMACs and EdDSA are not among them. */
const algorithms = ['RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'ES512', 'PS256', 'PS384', 'PS512'];
const compact = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;
const spiffeIdShape = /^spiffe:\/\/([a-z0-9._-]+)((?:\/[A-Za-z0-9._-]+)+)$/;

/**
 * Checks a JWT-SVID (SPIFFE JWT-SVID 2 to 4) that must be for this service only: a second audience could present it here too.
 * Throws an Error whose message names the failed check and holds nothing of the token.
 * @param now Milliseconds since the epoch.
 */
export async function checkJwtSvid(
  text: string,
  domain: TrustDomain,
  audience: string,
  now: number,
): Promise<Workload> {
  if (!compact.test(text)) throw new Error('the SVID is not a compact JWS');
  const header = readPart(() => decodeProtectedHeader(text));
  // jose ignores headers that it does not know; `jku`, `x5c` and the like are attempts to bring a key along.
  const names = Object.keys(header).filter((name) => name !== 'alg' && name !== 'kid' && name !== 'typ');
  if (names.length > 0) throw new Error('the SVID has a header that SVIDs do not have');
  if (header.typ !== undefined && header.typ !== 'JWT' && header.typ !== 'JOSE')
    throw new Error('the SVID has another typ');
  const claims = readPart(() => decodeJwt(text));
  const spiffeId = checkSpiffeId(claims.sub, domain.trustDomain);
  const key = domain.jwks().find((jwk) => jwk.kid !== undefined && jwk.kid === header.kid && isSvidKey(jwk));
  if (key === undefined) throw new Error('the trust domain has no key of this kid');
  try {
    const verifying = await importJWK(key, header.alg ?? '');
    await jwtVerify(text, verifying, { algorithms, currentDate: new Date(now), requiredClaims: ['exp', 'aud', 'sub'] });
  } catch {
    throw new Error('the SVID is expired or not signed by the trust domain');
  }
  const audiences = typeof claims.aud === 'string' ? [claims.aud] : (claims.aud ?? []);
  if (audiences.length !== 1 || audiences[0] !== audience) throw new Error('the SVID is not for this service alone');
  return { spiffeId, ...(claims.iss === undefined ? {} : { issuer: claims.iss }) };
}

/** True where `pattern` is the ID itself, or ends in `/*` and is its prefix on a whole segment (spiffe-client-auth 4). */
export function matchesSpiffeId(pattern: string, spiffeId: string): boolean {
  return pattern.endsWith('/*') ? spiffeId.startsWith(pattern.slice(0, -1)) : spiffeId === pattern;
}

function readPart<Part>(decode: () => Part): Part {
  try {
    return decode();
  } catch {
    throw new Error('the SVID is not a JWT');
  }
}

/** A key for X.509-SVIDs must not vouch for JWTs (SPIFFE bundle 4.2). */
function isSvidKey(jwk: JWK): boolean {
  return jwk.use === undefined || jwk.use === 'jwt-svid';
}

/** The ID, if it is well-formed, has a path and is of this trust domain. */
function checkSpiffeId(sub: unknown, trustDomain: string): string {
  const parts = typeof sub === 'string' ? spiffeIdShape.exec(sub) : null;
  const segments = parts?.[2]?.split('/') ?? [];
  if (parts === null || segments.includes('.') || segments.includes('..'))
    throw new Error('the SVID names no SPIFFE ID');
  if (parts[1] !== trustDomain) throw new Error('the SVID is of another trust domain');
  return parts[0];
}
