import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** What should name authorities holds no certificate. Says nothing of the content: it may be a private key. */
export class NoCertificate extends Error {
  override readonly name = 'NoCertificate';
  readonly code = 'NO_CERTIFICATE';

  constructor() {
    super('there is no CA certificate (PEM) in it');
  }
}

/**
 * Returns the text of a file with CA certificates (PEM), for the option `ca` of TLS. Throws NoCertificate where the file holds none that
 * can be read, and the error of the operating system where there is no such file.
 */
export function readAuthorities(file: string): string {
  const text = readFileSync(file, 'utf8');
  checkAuthorities(text);
  return text;
}

/**
 * Throws NoCertificate unless a text begins, behind other blocks and comments, with a certificate (PEM) that can be read. Node takes an
 * empty `ca` for none given and trusts the public authorities: whoever empties the file, or a write that is cut short, would open a
 * pinned connection to any server that they vouch for.
 */
export function checkAuthorities(pem: string): void {
  try {
    // By the parser that TLS reads them with: it stops at the first that is broken, and would trust nobody.
    void new X509Certificate(pem);
  } catch {
    throw new NoCertificate();
  }
}
