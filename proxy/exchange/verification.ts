import { type JwksCache, KeysUnavailable } from '../trust/jwks.ts';
import { allowedTyps, InvalidToken, readStrictJws } from '../trust/strict-jws.ts';
import type { CheckedAnswer } from './check-answer.ts';
import type { TokenClaims } from './check-token.ts';
import type { Deadline } from './deadline.ts';
import type { ServiceEndpoints } from './discovery.ts';
import type { RejectCause } from './exchange-trail.ts';
import { Rejection } from './rejection.ts';
import type { ServiceClient } from './service-client.ts';
import type { ServiceSettings } from './service-settings.ts';

/** Port: what an issued token says, from a source that can be believed. Undefined where the service offers none (`response-only`). */
export interface Verification {
  /** Throws `KeysUnavailable` before anything is issued that could not be checked afterwards. */
  checkPossible(endpoints: ServiceEndpoints): void;
  readClaims(answer: CheckedAnswer, endpoints: ServiceEndpoints, deadline: Deadline): Promise<TokenClaims | undefined>;
}

/** The signed payload, verified with the issuer's keys (RFC 9068 4). Throws `Rejection` or `KeysUnavailable`. */
export function jwtVerification(keys: JwksCache, typ: readonly string[]): Verification {
  const allowed = allowedTyps(typ);
  return {
    checkPossible: ({ jwks }) => void required(jwks),
    async readClaims({ token }, { jwks }, deadline) {
      try {
        const jws = readStrictJws(token.reveal());
        // An ID token or a logout token of the same issuer has a good signature too (RFC 8725 3.11).
        if (!allowed.has(jws.header.typ)) throw new InvalidToken('typ');
        await keys.verify(jws, required(jwks), 'sig', deadline.leftMs());
        return { from: 'jwt', claims: jws.payload };
      } catch (error) {
        if (error instanceof InvalidToken) throw new Rejection(causeOf(error));
        throw error;
      }
    },
  };
}

/** The service's own word (RFC 7662 2.2): for opaque tokens, and for JWTs whose revocation shall be noticed. */
function introspection(client: ServiceClient): Verification {
  return {
    checkPossible: (endpoints) => void required(endpoints.introspection),
    async readClaims({ token, tokenType }, endpoints, deadline) {
      const claims = await client.introspect(token, endpoints, deadline);
      // Only the literal `true`: "true" and 1 are how a broken service says something else.
      if (claims['active'] !== true) throw new Rejection('inactive');
      const { token_type: said = tokenType } = claims;
      if (typeof said !== 'string' || said.toLowerCase() !== tokenType.toLowerCase()) throw new Rejection('token_type');
      return { from: 'introspection', claims };
    },
  };
}

/** Nothing but the answer itself: for foreign opaque tokens, whose tools are held to low risk by the configuration. */
function responseOnly(): Verification {
  return { checkPossible: () => undefined, readClaims: async () => undefined };
}

/** A place to ask, or the same refusal as when it does not answer. */
function required(endpoint: URL | undefined): URL {
  if (endpoint === undefined) throw new KeysUnavailable();
  return endpoint;
}

/** How the tokens of a service are checked, as its settings say. */
export function chooseVerification(settings: ServiceSettings, keys: JwksCache, client: ServiceClient): Verification {
  if (settings.verify === 'jwt') return jwtVerification(keys, settings.expect.typ);
  return settings.verify === 'introspect' ? introspection(client) : responseOnly();
}

/** All that is wrong with header, key and signature is one cause: the token is not provably the issuer's. */
function causeOf(error: InvalidToken): RejectCause {
  if (error.reason === 'typ' || error.reason === 'malformed') return error.reason;
  return 'signature';
}
