import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';

/** A certificate with its path, and its key; PEM. */
interface Pem {
  readonly cert: string;
  readonly key: string;
}

/** The certificate of a listener of ours that is not an SVID, from files that somebody renews. */
export class OwnCertificate {
  readonly #files: { readonly certificate: string; readonly key: string };
  #pem: Pem;
  #leaf: X509Certificate;

  /** Throws where the files cannot be read, or do not belong together. */
  constructor(files: { readonly certificate: string; readonly key: string }) {
    this.#files = files;
    this.#pem = this.#read();
    this.#leaf = leafOf(this.#pem);
  }

  /** As `tls.createSecureContext` takes it. */
  get pem(): Pem {
    return this.#pem;
  }

  /** Whether the files hold another one than before, which is in use from now on. Throws where that is none, and keeps the one before. */
  renew(): boolean {
    const pem = this.#read();
    if (pem.cert === this.#pem.cert && pem.key === this.#pem.key) return false;
    this.#leaf = leafOf(pem);
    this.#pem = pem;
    return true;
  }

  /** Whether it may be called by this host name or address. Throws for a text that is neither. */
  isFor(name: string): boolean {
    return (isIP(name) === 0 ? this.#leaf.checkHost(name) : this.#leaf.checkIP(name)) !== undefined;
  }

  #read(): Pem {
    return { cert: readFileSync(this.#files.certificate, 'utf8'), key: readFileSync(this.#files.key, 'utf8') };
  }
}

/** The two files of a rotation are not replaced in one moment. */
function leafOf({ cert, key }: Pem): X509Certificate {
  const leaf = new X509Certificate(cert);
  if (!leaf.checkPrivateKey(createPrivateKey(key))) throw new Error('the certificate is not of this key');
  return leaf;
}
