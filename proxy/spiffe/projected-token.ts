import { readBounded } from './bounded-file.ts';
import { IdentityUnavailable, type UnavailableReason } from './identity-unavailable.ts';
import { decodeExactly, readMembers } from './strict-members.ts';

/** A token that the cluster signed for a service account. A bearer token: its text leaves only through `token()`. */
export class ProjectedToken {
  /** Milliseconds since the epoch. */
  readonly expiresAtMs: number;
  readonly #token: string;

  constructor(token: string, expiresAtMs: number) {
    this.#token = token;
    this.expiresAtMs = expiresAtMs;
  }

  /** The compact JWS itself; only for the audience that it was read for. */
  token(): string {
    return this.#token;
  }
}

const maxBytes = 16 * 1024;
const compact = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)$/;

/**
 * Reads the token that the kubelet keeps in a file (projected volume of a service account), at each use, since it is exchanged at 80 % of
 * its life. Whoever receives it verifies it; here it is seen that it is for this one audience: one for the cluster's own API, or for
 * several, would let its receiver act as this pod elsewhere. Rejects with IdentityUnavailable.
 */
export async function readProjectedToken(file: string, audience: string, nowMs: number): Promise<ProjectedToken> {
  const text = await readText(file);
  const [, head = '', body = '', tail = ''] = compact.exec(text) ?? [];
  const [header, claims] = [readMembers(head), readMembers(body)];
  if (header === undefined || claims === undefined || decodeExactly(tail) === undefined) throw unusable('malformed');
  const { aud, exp } = claims;
  if (typeof header['alg'] !== 'string' || header['alg'] === 'none') throw unusable('malformed');
  if (typeof exp !== 'number' || !Number.isSafeInteger(exp)) throw unusable('malformed');
  const audiences: readonly unknown[] = Array.isArray(aud) ? aud : [aud];
  if (audiences.length !== 1 || audiences[0] !== audience) throw unusable('audience');
  if (exp * 1000 <= nowMs) throw unusable('unavailable');
  return new ProjectedToken(text, exp * 1000);
}

async function readText(file: string): Promise<string> {
  try {
    return (await readBounded(file, maxBytes)).toString('latin1').trimEnd();
  } catch {
    // The error of the operating system names the path, which is the operator's matter.
    throw unusable('unavailable');
  }
}

function unusable(reason: UnavailableReason): IdentityUnavailable {
  return new IdentityUnavailable(reason);
}
