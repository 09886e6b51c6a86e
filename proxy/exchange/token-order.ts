import { createHash } from 'node:crypto';
import type { ProofKey } from '../proofs/dpop.ts';
import type { ClientCertificate } from '../trust/client-certificate.ts';
import type { Secret } from '../trust/secret.ts';
import type { AuthorizationDetails } from './authorization-details.ts';
import type { TokenKind } from './token-kinds.ts';

/** On whose behalf a token is asked for. */
export interface OrderSubject {
  readonly token: Secret;
  /** RFC 8693 3, e.g. `urn:ietf:params:oauth:token-type:access_token`. */
  readonly tokenType: string;
  readonly iss: string;
  readonly sub: string;
  readonly expiresAtMs: number;
  /** The verified `act` claim of the subject token: the chain before us. */
  readonly act?: unknown;
}

/** How a token is asked for. In the last two, another service states first whom it is for. */
export type Grant = 'token_exchange' | 'client_credentials' | 'jwt_bearer' | 'id_jag' | 'identity_chaining';

/** Everything that one exchange is given. */
export interface TokenOrderParts {
  readonly txn: string;
  readonly tool: string;
  /** Scheme, host and port of the tool: the only place that the token will be sent to. */
  readonly toolOrigin: string;
  /** Name of the token service in the configuration, and its issuer. */
  readonly service: string;
  readonly issuer: string;
  readonly grant: Grant;
  /** What is asked for; without it an access token. */
  readonly kind?: TokenKind | undefined;
  /** The service that states to ours whom it may issue a token for; required for the grants of two legs. */
  readonly grantedBy?: { readonly service: string; readonly issuer: string } | undefined;
  /** What is handed in with `jwt_bearer`: the subject token, or a JWT-SVID of ours. */
  readonly assertion?: 'subject' | 'workload' | undefined;
  /** As whom the reader of a statement knows us. */
  readonly clientId?: string | undefined;
  readonly details?: AuthorizationDetails | undefined;
  /** Further parameters of the request, as texts (`request_context` and `request_details` of a transaction token). */
  readonly parameters?: Readonly<Record<string, string>> | undefined;
  /** Required for all grants on behalf of somebody. */
  readonly subject?: OrderSubject | undefined;
  readonly audience: readonly string[];
  readonly resource?: string | undefined;
  readonly scopes?: readonly string[] | undefined;
  /** Set where the token must be bound to this key (DPoP). */
  readonly proofKey?: ProofKey | undefined;
  /** Set where the token must be bound to this certificate (RFC 8705 3): it is presented at the service and at the tool. */
  readonly certificate?: ClientCertificate | undefined;
  /** How long a token may be used, whatever its own life. */
  readonly useForMs: number;
}

/** One order for tokens, made once per task and tool. The key belongs to the content: only `makeTokenOrder` makes orders. */
class TokenOrder {
  readonly #made = true;
  /** Digest of all that the exchange is given (W4); the cache key. */
  readonly key: string;
  readonly txn: string;
  readonly tool: string;
  readonly toolOrigin: string;
  readonly service: string;
  readonly issuer: string;
  readonly grant: Grant;
  readonly kind: TokenKind;
  readonly grantedBy: TokenOrderParts['grantedBy'];
  readonly assertion: TokenOrderParts['assertion'];
  readonly clientId: string | undefined;
  readonly details: AuthorizationDetails | undefined;
  readonly parameters: TokenOrderParts['parameters'];
  readonly subject: OrderSubject | undefined;
  readonly audience: readonly string[];
  readonly resource: string | undefined;
  readonly scopes: readonly string[] | undefined;
  readonly proofKey: ProofKey | undefined;
  readonly certificate: ClientCertificate | undefined;
  readonly useForMs: number;

  constructor(parts: TokenOrderParts) {
    // Copied: a list that its maker changes afterwards would no longer be what the key says.
    this.txn = parts.txn;
    this.tool = parts.tool;
    this.toolOrigin = parts.toolOrigin;
    this.service = parts.service;
    this.issuer = parts.issuer;
    this.grant = parts.grant;
    this.kind = parts.kind ?? 'access_token';
    this.grantedBy = parts.grantedBy;
    this.assertion = parts.assertion;
    this.clientId = parts.clientId;
    this.details = parts.details;
    this.parameters = parts.parameters;
    this.subject = parts.subject;
    this.audience = [...parts.audience];
    this.resource = parts.resource;
    this.scopes = parts.scopes === undefined ? undefined : [...new Set(parts.scopes)].toSorted();
    this.proofKey = parts.proofKey;
    this.certificate = parts.certificate;
    this.useForMs = parts.useForMs;
    this.key = digestOf([
      this.txn,
      // Two tools at one origin share no token: whoever revokes one of them means the token that it was called with.
      this.tool,
      this.toolOrigin,
      this.service,
      this.issuer,
      this.grant,
      this.kind,
      this.grantedBy?.service,
      this.grantedBy?.issuer,
      this.assertion,
      this.clientId,
      this.details === undefined ? undefined : JSON.stringify(this.details),
      this.parameters === undefined ? undefined : Object.entries(this.parameters).flat(),
      this.subject?.iss,
      this.subject?.sub,
      this.subject === undefined ? undefined : sha256(this.subject.token.reveal()),
      this.subject?.tokenType,
      this.subject?.act === undefined ? undefined : JSON.stringify(this.subject.act),
      this.audience,
      this.resource,
      this.scopes,
      this.proofKey?.jkt,
      this.certificate?.thumbprint,
      String(this.useForMs),
    ]);
  }

  static isOrder(value: TokenOrder): boolean {
    return value.#made;
  }
}
export type { TokenOrder };

/** Makes an order and its key. A digest over all parts: made when a task first uses a tool, never per call. */
export function makeTokenOrder(parts: TokenOrderParts): TokenOrder {
  const alone = parts.grant === 'client_credentials' || parts.assertion === 'workload';
  if (!alone && parts.subject === undefined) throw new Error('an exchange needs a subject');
  return new TokenOrder(parts);
}

/** One part of a key: absent, a text, or a list. */
type Part = string | undefined | readonly string[];

/**
 * SHA-256 over the parts, each with its length in front. Joined with a separator instead, two different lists could spell the same
 * text (audience `a,b` against `a` and `b`), and one order would be served the token of the other.
 */
function digestOf(parts: readonly Part[]): string {
  const hash = createHash('sha256');
  for (const part of parts) {
    if (part === undefined) hash.update('-');
    else if (typeof part === 'string') hash.update(`${Buffer.byteLength(part)}:${part}`);
    else hash.update(`[${part.length}]`).update(part.map((item) => `${Buffer.byteLength(item)}:${item}`).join(''));
  }
  return hash.digest('base64url');
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}
