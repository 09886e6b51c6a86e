import type { Dialect } from '../../config/service-profiles.ts';
import type { AssertionForm } from './client-auth/private-key-jwt.ts';

/** What this room reads of one entry of `token_services` (WIRE 2). Durations are milliseconds, paths are absolute. */
export interface ServiceSettings {
  /** Issuer identifier, compared byte for byte wherever it appears. */
  readonly issuer: string;
  readonly client_auth:
    | 'spiffe_jwt'
    | 'spiffe_x509'
    | 'private_key_jwt'
    | 'tls_client_auth'
    | 'kubernetes_jwt'
    | 'client_secret_basic'
    | 'client_secret_post';
  /** Not needed for `spiffe_*` and `kubernetes_jwt`, where SVID or token names the client; sent along when set. */
  readonly client_id?: string | undefined;
  readonly client_secret_file?: string | undefined;
  /** PEM or JWK for `private_key_jwt`, PEM for `tls_client_auth`. */
  readonly client_key_file?: string | undefined;
  readonly client_key_id?: string | undefined;
  readonly client_certificate_file?: string | undefined;
  /** The projected token for `kubernetes_jwt`. */
  readonly token_file?: string | undefined;
  readonly assertion?: AssertionForm | undefined;
  /** `ca`: file with the authorities of a service that the public ones do not vouch for. */
  readonly tls?: { readonly ca?: string | undefined } | undefined;
  /** Absolute URLs that are used as they are: in place of discovery (`token` set), or where they lie off the issuer's origin. */
  readonly endpoints?:
    | {
        readonly token?: string | undefined;
        readonly revocation?: string | undefined;
        readonly introspection?: string | undefined;
        readonly jwks?: string | undefined;
      }
    | undefined;
  /** Who is named as actor: our JWT-SVID, a token of our own from the same service, or nobody. */
  readonly actor: 'jwt-svid' | 'client_credentials' | 'none';
  /** Whether a subject token that is bound to somebody's key (`cnf`) may be exchanged. */
  readonly bound_subject: 'accept' | 'refuse';
  readonly verify: 'jwt' | 'introspect' | 'response-only';
  /** What an issued token must say (W5). */
  readonly expect: {
    readonly sub: 'same' | 'any';
    readonly act: 'self' | 'none' | 'any';
    readonly typ: readonly string[];
    /** `subject`: of the scopes that were asked for only those that the subject token has. */
    readonly scopes: 'asked' | 'subject';
    /** A token that outlives the subject token: its use is cut at the subject's end, or it is refused. */
    readonly life: 'any' | 'cut' | 'refuse';
    /** `req_wl` of a transaction token. */
    readonly workload: 'self' | 'any';
  };
  /** How the service is spoken to, where the standards leave room. */
  readonly dialect: Dialect;
  /** Longest life that an issued token may have. */
  readonly max_lifetime: number;
  /** Time for one exchange, with everything that it needs: discovery, keys, identity, introspection. */
  readonly timeout: number;
}
