import { dirname } from 'node:path';
import { readBounded } from './bounded-file.ts';
import { parseBundleDocument, type BundleDocument } from './bundle-document.ts';
import type { JwtAuthority } from './bundles.ts';
import { MalformedAnswer } from './identity-unavailable.ts';
import { WatchedFiles } from './watched-files.ts';
import type { X509Bundle } from './x509-path.ts';

/** Why a bundle file was not taken. */
export type BundleFileFault = 'unreadable' | 'malformed';

/** What a holder of a bundle file tells. */
export interface BundleFileEvents {
  changed(trustDomain: string): void;
  failed(trustDomain: string, fault: BundleFileFault): void;
}

const maxBytes = 1024 * 1024;

/**
 * Reads a bundle document, or PEM certificates, from a file. Rejects with MalformedAnswer, OversizedFile or the error of the operating
 * system.
 */
export async function readBundleFile(path: string): Promise<BundleDocument> {
  return parseBundleDocument(await readBounded(path, maxBytes));
}

/**
 * The bundle of one trust domain in a file that somebody else keeps fresh. A file that is gone or cannot be understood takes nothing
 * back: whoever wants that writes an empty list of keys. Sequences are not compared: who writes the file is the operator.
 */
export class FileBundle {
  readonly #trustDomain: string;
  readonly #path: string;
  readonly #events: BundleFileEvents;
  readonly #files: WatchedFiles;
  #digest = '';
  /** Whether it was told that the file cannot be read; that is told once for as long as it lasts. */
  #isUnreadable = false;
  #closed = false;
  #x509: X509Bundle | undefined;
  #jwt: readonly JwtAuthority[] | undefined;

  constructor(trustDomain: string, path: string, events: BundleFileEvents) {
    this.#trustDomain = trustDomain;
    this.#path = path;
    this.#events = events;
    this.#files = new WatchedFiles(
      dirname(path),
      () => Promise.resolve([path]),
      () => this.#read(),
    );
  }

  /** Undefined as long as nothing is known. */
  x509(): X509Bundle | undefined {
    return this.#x509;
  }

  /** Undefined as long as nothing is known. */
  jwtAuthorities(): readonly JwtAuthority[] | undefined {
    return this.#jwt;
  }

  /** Resolves when the file was read for the first time, or could not be. */
  open(): Promise<void> {
    return this.#files.look();
  }

  close(): void {
    this.#closed = true;
    this.#files.close();
  }

  async #read(): Promise<void> {
    try {
      const { digest, authorities, jwtAuthorities } = await readBundleFile(this.#path);
      this.#isUnreadable = false;
      if (digest === this.#digest || this.#closed) return;
      this.#digest = digest;
      this.#x509 = { authorities, revocations: [] };
      this.#jwt = jwtAuthorities;
      this.#events.changed(this.#trustDomain);
    } catch (error) {
      const fault = error instanceof MalformedAnswer ? 'malformed' : 'unreadable';
      const isToldBefore = fault === 'unreadable' && this.#isUnreadable;
      this.#isUnreadable = fault === 'unreadable';
      // Without a free descriptor, say: what the file takes back meanwhile must not stay trusted until it changes once more.
      if (this.#isUnreadable) this.#files.forget();
      if (!this.#closed && !isToldBefore) this.#events.failed(this.#trustDomain, fault);
    }
  }
}
