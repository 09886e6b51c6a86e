import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { inertIssuer } from '../tasks/handle-text.ts';
import type { Secret } from '../trust/secret.ts';
import { isObject } from '../trust/strict-json.ts';

declare global {
  /** JSON.parse source text access (ES2026), which TypeScript does not know yet. */
  interface JSON {
    parse(text: string, revive: (name: string, value: unknown, at: { readonly source?: string }) => unknown): unknown;
    rawJSON(text: string): object;
  }
}

/** What the program behind us gets in place of the caller's token (DESIGN 5). */
export interface InertTokens {
  /** A JWT with the caller's claims and of the same kind, for this agent alone, whose `jti` is the handle of the task. */
  make(shown: ShownToken, handle: string, iatSeconds: number, expSeconds: number): string;
  /** Public keys, for programs that insist on verifying. */
  readonly jwks: { readonly keys: readonly PublishedKey[] };
}

/** A public key as JWK (RFC 7517 4). */
interface PublishedKey {
  readonly kid: string;
  readonly use: 'sig';
  readonly alg: string;
}

/** What the agent may know of the caller's token. */
export interface ShownToken {
  /** The header `typ` in its normal form; empty where there is none. */
  readonly typ: string;
  readonly claims: Readonly<Record<string, unknown>>;
  /** The token, from which they were read; undefined for claims that are our own. */
  readonly text: Secret | undefined;
}

/** Claims that say where and by whom a token counts: ours are other ones. Everything else the agent may read as before. */
const replaced = new Set(['iss', 'aud', 'jti', 'iat', 'nbf', 'exp', 'cnf', 'may_act']);

/** Opens the issuer of this process: its key is made now, and nobody else trusts it. @param audience name of the agent. */
export function openInertTokens(audience: string, alg: 'ES256' | 'RS256'): InertTokens {
  const { privateKey, publicKey } =
    alg === 'ES256'
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : generateKeyPairSync('rsa', { modulusLength: 2048 });
  const jwk = publicKey.export({ format: 'jwk' });
  const kid = createHash('sha256').update(JSON.stringify(jwk)).digest('base64url').slice(0, 16);
  // Of these there are as many as the configuration takes kinds of tokens.
  const headers = new Map<string, string>();
  const keptOf = new WeakMap<object, string>();
  const front = `{"iss":${JSON.stringify(inertIssuer)},"aud":${JSON.stringify(audience)},"jti":"`;
  return {
    jwks: { keys: [{ ...jwk, kid, use: 'sig', alg }] },
    make({ typ, claims, text }, handle, iat, exp) {
      // Claims of a token are one object as long as the token is kept; their text is made once.
      let kept = keptOf.get(claims);
      if (kept === undefined) {
        kept = renderKept(text === undefined ? claims : readExactly(text));
        keptOf.set(claims, kept);
      }
      let header = headers.get(typ);
      if (header === undefined) {
        header = renderHeader({ alg, kid, typ });
        headers.set(typ, header);
      }
      const payload = `${front}${handle}","iat":${iat},"exp":${exp}${kept}}`;
      const input = `${header}.${Buffer.from(payload).toString('base64url')}`;
      const signature = sign('sha256', Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' });
      return `${input}.${signature.toString('base64url')}`;
    },
  };
}

/** A program that takes tokens of one kind alone (RFC 8725 3.11) gets that kind. */
function renderHeader({ alg, kid, typ }: { alg: string; kid: string; typ: string }): string {
  const written = typ === '' || typ === 'jwt' ? 'JWT' : typ;
  return Buffer.from(JSON.stringify({ alg, kid, typ: written })).toString('base64url');
}

/**
 * Claims of a token that was verified, with every number as its issuer wrote it: the number of a tenant that is beyond 2^53 would be
 * rounded to that of another, and a program in another language reads it exactly.
 */
function readExactly(token: Secret): Readonly<Record<string, unknown>> {
  const [, payload = ''] = token.reveal().split('.');
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString(), (_name, value, { source = '' }) =>
    typeof value === 'number' && JSON.stringify(value) !== source ? JSON.rawJSON(source) : value,
  );
  if (!isObject(claims)) throw new Error('a token that was verified, and claims that are no object');
  return claims;
}

/** The claims that the agent may read as before, as JSON members behind ours. */
function renderKept(claims: Readonly<Record<string, unknown>>): string {
  const kept = Object.fromEntries(Object.entries(claims).filter(([name]) => !replaced.has(name)));
  // Users of two issuers may have the same name, and `iss` is ours now.
  if (typeof claims['iss'] === 'string') kept['sub_iss'] = claims['iss'];
  const text = JSON.stringify(kept);
  return text === '{}' ? '' : `,${text.slice(1, -1)}`;
}
