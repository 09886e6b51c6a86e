import { createHash, type KeyObject, X509Certificate } from 'node:crypto';
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls';

/** A certificate cannot be used by us: it cannot be parsed, or its key is not the one beside it. Holds no part of either. */
class UnusableCertificate extends Error {
  constructor() {
    super('unusable certificate');
  }
}

/** What a client certificate is made of: the chain as DER, leaf first, and the key of the leaf. */
export interface CertificateParts {
  readonly chain: readonly Buffer[];
  readonly key: KeyObject;
  /** The SPIFFE ID that the leaf names, where it is an X.509-SVID. */
  readonly spiffeId: string | undefined;
}

/**
 * A certificate that we present in TLS, with its key. Two connections have the same TLS identity where the thumbprint is the same. The
 * key leaves through `contextFor` only, into OpenSSL (W8).
 */
export class ClientCertificate {
  /** `x5t#S256` of RFC 8705 3.1: base64url(SHA-256(DER of the leaf)). What a token that is bound to this certificate names. */
  readonly thumbprint: string;
  /** End of the leaf, milliseconds since the epoch. */
  readonly expiresAtMs: number;
  readonly spiffeId: string | undefined;
  readonly #chain: string;
  readonly #key: KeyObject;

  /** Throws `UnusableCertificate`. */
  constructor({ chain, key, spiffeId }: CertificateParts) {
    const [leaf, ...others] = chain.map(parse);
    // A foreign key would fail in each handshake, with words of OpenSSL in place of ours.
    if (leaf === undefined || !leaf.checkPrivateKey(key)) throw new UnusableCertificate();
    this.thumbprint = createHash('sha256').update(leaf.raw).digest('base64url');
    this.expiresAtMs = leaf.validToDate.getTime();
    this.spiffeId = spiffeId;
    this.#chain = [leaf, ...others].map(String).join('');
    this.#key = key;
  }

  /** A TLS context that presents this certificate. @param trust what the server is checked by. */
  contextFor(trust: SecureContextOptions): SecureContext {
    const key = this.#key.export({ type: 'pkcs8', format: 'pem' });
    return createSecureContext({ ...trust, cert: this.#chain, key });
  }

  toString(): string {
    return `[certificate ${this.thumbprint}]`;
  }

  toJSON(): string {
    return this.toString();
  }
}

function parse(der: Buffer): X509Certificate {
  try {
    return new X509Certificate(der);
  } catch {
    throw new UnusableCertificate();
  }
}
