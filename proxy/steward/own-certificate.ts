import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { isIP } from 'node:net';
import { readNamed } from './named-file.ts';

/** A certificate with its path, and its key; PEM. */
interface Pem {
  readonly cert: string;
  readonly key: string;
}

/** Where both are. */
interface PemFiles {
  readonly certificate: string;
  readonly key: string;
}

/** The certificate of a listener of ours that is not an SVID, from files that somebody renews. */
export class OwnCertificate {
  readonly #files: PemFiles;
  #pem: Pem;
  #leaf: X509Certificate;

  /** Throws where the files cannot be read, or do not belong together. */
  constructor(files: PemFiles) {
    this.#files = files;
    this.#pem = this.#read();
    this.#leaf = leafOf(this.#pem, files);
  }

  /** As `tls.createSecureContext` takes it. */
  get pem(): Pem {
    return this.#pem;
  }

  /** Whether the files hold another one than before, which is in use from now on. Throws where that is none, and keeps the one before. */
  renew(): boolean {
    const pem = this.#read();
    if (pem.cert === this.#pem.cert && pem.key === this.#pem.key) return false;
    this.#leaf = leafOf(pem, this.#files);
    this.#pem = pem;
    return true;
  }

  /** Whether it may be called by this host name or address. Throws for a text that is neither. */
  isFor(name: string): boolean {
    return (isIP(name) === 0 ? this.#leaf.checkHost(name) : this.#leaf.checkIP(name)) !== undefined;
  }

  #read(): Pem {
    return { cert: readNamed(this.#files.certificate), key: readNamed(this.#files.key) };
  }
}

/** The two files of a rotation are not replaced in one moment. What is wrong is said in a sentence: the words of OpenSSL name no file. */
function leafOf({ cert, key }: Pem, files: PemFiles): X509Certificate {
  const leaf = orSay(() => new X509Certificate(cert), `${files.certificate} holds no certificate (PEM)`);
  const own: KeyObject = orSay(
    () => createPrivateKey(key),
    `${files.key} holds no private key (PEM, without a password)`,
  );
  if (!leaf.checkPrivateKey(own))
    throw new Error(`the certificate in ${files.certificate} is not of the key in ${files.key}`);
  return leaf;
}

function orSay<T>(read: () => T, what: string): T {
  try {
    return read();
  } catch {
    throw new Error(what);
  }
}
