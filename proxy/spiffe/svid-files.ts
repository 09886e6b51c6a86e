import { setTimeout as sleep } from 'node:timers/promises';
import { digestOf, type JwtAuthority } from './bundles.ts';
import { HeldBundles, type BundleEvent } from './held-bundles.ts';
import { HeldSvids, type SvidEvent } from './held-svids.ts';
import { EndedAnswer, IdentityUnavailable, MalformedAnswer } from './identity-unavailable.ts';
import { JwtSvid } from './jwt-svid.ts';
import type { SpiffeId } from './spiffe-id.ts';
import { FileFault, listSvidFiles, NoSvid, readSvidFolder, type SvidFolder } from './svid-folder.ts';
import { WatchedFiles } from './watched-files.ts';
import type { X509Bundle } from './x509-path.ts';
import type { X509Context } from './x509-svid.ts';

/**
 * `absent`: there is no SVID, or no folder. `unreadable`, `malformed`: what is there was not taken. What was held is used on. `key_shared`:
 * others may read the key.
 */
export interface FolderEvent {
  readonly kind: 'folder';
  readonly reason: 'absent' | 'unreadable' | 'malformed' | 'key_shared';
  /** The code of the system, or words of our own; no content of a file. */
  readonly cause?: string | undefined;
  /** Path of the one that it is, where it is one. */
  readonly file?: string | undefined;
}

/** What happens to the identity; no event holds a key or a token. */
export type SvidFilesEvent = SvidEvent | BundleEvent | FolderEvent;

export interface SvidFilesOptions {
  readonly folder: string;
  /** Wall clock, milliseconds since the epoch. */
  readonly now: () => number;
  /** Hears of every change, after it is in force. Must not throw. */
  readonly onEvent: (event: SvidFilesEvent) => void;
}

/** Why the files were not taken. */
interface Fault {
  readonly event: FolderEvent;
  /** Without a change of the files: a descriptor becomes free, a clock that was ahead is set back. */
  readonly mayPass: boolean;
}

/** Files are written one after the other: what does not fit together is looked at once more before anybody hears of it. */
const secondLookMs = 250;

/** Opens the folder; resolves when it was read, or could not be. A folder that is not there yet is waited for. */
export async function openSvidFiles(options: SvidFilesOptions): Promise<SvidFiles> {
  const files = new SvidFiles(options);
  await files.look();
  return files;
}

/**
 * The identity of this workload from files that somebody else keeps fresh (spiffe-helper, cert-manager's csi-driver-spiffe). They are
 * read anew when they change, and taken only whole: until then, and when they are gone, what was read is used until it expires.
 */
export class SvidFiles {
  readonly #options: SvidFilesOptions;
  readonly #svids: HeldSvids;
  readonly #x509Bundles: HeldBundles<readonly Buffer[]>;
  readonly #jwtBundles: HeldBundles<readonly JwtAuthority[]>;
  readonly #files: WatchedFiles;
  /** Whether the certificate has ended, and its tokens with it. */
  #isEnded = false;
  #tokens: readonly { readonly svid: JwtSvid; readonly audiences: readonly string[] }[] = [];
  #bundles: ReadonlyMap<string, X509Bundle> = new Map();
  #keyWasShared = false;
  /** Faults that may pass, as they were told: each once until the files are taken. Which one is found of several files is chance. */
  readonly #told = new Set<string>();
  #closed = false;

  constructor(options: SvidFilesOptions) {
    const { folder, now, onEvent } = options;
    this.#options = options;
    this.#svids = new HeldSvids(now, (event) => this.#svidsChanged(event), undefined);
    this.#x509Bundles = new HeldBundles('x509', onEvent);
    this.#jwtBundles = new HeldBundles('jwt', onEvent);
    this.#files = new WatchedFiles(
      folder,
      () => listSvidFiles(folder),
      () => this.#read(),
    );
  }

  /** Looks at the files now; resolves when a change is in force. */
  look(): Promise<void> {
    return this.#files.look();
  }

  /** The clock that SVIDs are judged by, milliseconds since the epoch. */
  now(): number {
    return this.#options.now();
  }

  /** The X.509 identity with its key; undefined while there is none. */
  x509(): X509Context | undefined {
    return this.#svids.current();
  }

  /** What the X.509-SVIDs of a trust domain are verified with, by its name. */
  x509Bundles(): ReadonlyMap<string, X509Bundle> {
    return this.#bundles;
  }

  /** Public JWKs of the keys that sign the JWT-SVIDs of each trust domain, by its name. */
  jwtBundles(): ReadonlyMap<string, readonly JwtAuthority[]> {
    return this.#jwtBundles.current();
  }

  /** Who this workload is: the ID of its X.509-SVID, or else of a JWT-SVID. */
  identity(): SpiffeId | undefined {
    return this.#svids.current()?.default.spiffeId ?? this.#usable()[0]?.svid.spiffeId;
  }

  /** A JWT-SVID that has this audience, one that has no other if there is one. Rejects with IdentityUnavailable. */
  fetchJwtSvid(audience: string): Promise<JwtSvid> {
    const usable = this.#usable();
    const fitting = usable.filter(({ audiences }) => audiences.includes(audience));
    const found = fitting.find(({ audiences }) => audiences.length === 1) ?? fitting[0];
    if (found !== undefined) return Promise.resolve(found.svid);
    return Promise.reject(new IdentityUnavailable(usable.length === 0 ? 'unavailable' : 'audience'));
  }

  /** Ends watching, and forgets all keys and tokens. */
  close(): void {
    this.#closed = true;
    this.#files.close();
    this.#svids.close();
    this.#tokens = [];
  }

  #svidsChanged(event: SvidEvent): void {
    // One identity, one end: a token that lives longer does not stand in for a certificate that nobody renewed.
    // For that only the certificate has to come back: the clock may be set back, and the folder is not read again.
    this.#isEnded = event.kind === 'svid.lost';
    this.#options.onEvent(event);
  }

  /** Tokens that have not ended, of the identity that the certificate names. The one that lives longest comes first. */
  #usable() {
    const [now, id] = [this.#options.now(), this.#svids.current()?.default.spiffeId];
    // Asked behind that, which looks at the clock.
    if (this.#isEnded) return [];
    return this.#tokens
      .filter(({ svid }) => svid.expiresAtMs > now && (id === undefined || id.equals(svid.spiffeId)))
      .toSorted((one, other) => other.svid.expiresAtMs - one.svid.expiresAtMs);
  }

  async #read(): Promise<void> {
    let fault = await this.#tryRead();
    if (fault !== undefined) {
      await sleep(secondLookMs);
      fault = await this.#tryRead();
    }
    if (fault?.mayPass !== true) this.#told.clear();
    if (fault === undefined) return;
    const { event, mayPass } = fault;
    const words = JSON.stringify(event);
    const isToldBefore = this.#told.has(words);
    if (mayPass) {
      this.#told.add(words);
      // What was written must not wait for the next change: the SVID before it may end first.
      this.#files.forget();
    }
    if (!this.#closed && !isToldBefore) this.#options.onEvent(event);
  }

  async #tryRead(): Promise<Fault | undefined> {
    try {
      const found = await readSvidFolder(this.#options.folder);
      if (!this.#closed) this.#take(found);
      return undefined;
    } catch (error) {
      const event = eventOf(error);
      return { event, mayPass: event.reason === 'unreadable' || error instanceof EndedAnswer };
    }
  }

  #take({ x509, authorities, jwtAuthorities, tokens, keyIsShared }: SvidFolder): void {
    const now = this.#options.now();
    // All that can fail comes first. A token that has ended is no reason to refuse a fresh certificate.
    const next = tokens.flatMap((token) => readToken(token, now) ?? []);
    if (x509 === undefined && next.length === 0) throw new EndedAnswer('the folder holds no SVID that is good now');
    if (x509 !== undefined) this.#svids.take({ svids: [x509], crl: [], federated_bundles: [] });
    this.#tokens = next;
    this.#isEnded = false;
    if (authorities.size > 0) this.#takeAuthorities(authorities);
    if (jwtAuthorities !== undefined) this.#jwtBundles.take(withDigests(jwtAuthorities, (key) => JSON.stringify(key)));
    if (keyIsShared && !this.#keyWasShared) this.#options.onEvent({ kind: 'folder', reason: 'key_shared' });
    this.#keyWasShared = keyIsShared;
  }

  #takeAuthorities(authorities: ReadonlyMap<string, readonly Buffer[]>): void {
    const before = this.#x509Bundles.current();
    this.#x509Bundles.take(withDigests(authorities, (der) => der));
    const now = this.#x509Bundles.current();
    // The same objects until something changes: verified paths are remembered by them.
    if (now !== before)
      this.#bundles = new Map([...now].map(([name, list]) => [name, { authorities: list, revocations: [] }]));
  }
}

function eventOf(error: unknown): FolderEvent {
  if (error instanceof FileFault) return { ...eventOf(error.cause), file: error.file };
  if (error instanceof NoSvid) return { kind: 'folder', reason: 'absent', cause: error.code };
  if (error instanceof MalformedAnswer) return { kind: 'folder', reason: 'malformed', cause: error.message };
  if (!(error instanceof Error)) return { kind: 'folder', reason: 'unreadable' };
  const cause = 'code' in error && typeof error.code === 'string' ? error.code : error.name;
  return { kind: 'folder', reason: 'unreadable', cause };
}

function readToken(token: string, nowMs: number): ReturnType<typeof JwtSvid.fromToken> | undefined {
  try {
    return JwtSvid.fromToken(token, nowMs);
  } catch (error) {
    if (error instanceof MalformedAnswer) return undefined;
    throw error;
  }
}

function withDigests<Part>(lists: ReadonlyMap<string, readonly Part[]>, textOf: (part: Part) => Buffer | string) {
  return new Map([...lists].map(([name, content]) => [name, { content, digest: digestOf(content.map(textOf)) }]));
}
