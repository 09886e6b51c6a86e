import { watch, type FSWatcher } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename } from 'node:path';

/** Whether the operating system tells of a change or not (network and overlay file systems do not): files are looked at this often. */
const lookMs = 1000;
/** News of one change come in pieces: they are answered together. */
const newsMs = 50;

/**
 * Tells when one of some files is another than before: written, replaced by a rename, or reached by another link (Kubernetes exchanges
 * the link `..data`). Files that are not there yet are waited for.
 */
export class WatchedFiles {
  readonly #list: () => Promise<readonly string[]>;
  readonly #onChange: () => Promise<void>;
  readonly #timer: NodeJS.Timeout;
  readonly #watcher: FSWatcher | undefined;
  /** Undefined before the first look, which therefore always finds a change. */
  #seen: string | undefined;
  /** Of the files, without their folders, as they were listed last. */
  #names: ReadonlySet<string> | undefined;
  #looking: Promise<void> | undefined;
  #again = false;
  #news: NodeJS.Timeout | undefined;
  #closed = false;

  /**
   * @param folder that is watched.
   * @param list paths of the files; they may lie elsewhere and are then only looked at each second. Must not reject.
   * @param onChange is not called again before it has ended. Must not reject.
   */
  constructor(folder: string, list: () => Promise<readonly string[]>, onChange: () => Promise<void>) {
    this.#list = list;
    this.#onChange = onChange;
    this.#timer = setInterval(() => void this.look(), lookMs);
    try {
      this.#watcher = watch(folder, (event, name) => {
        // The record often lies beside the files, and is written to with every call: that is no news of theirs.
        if (event === 'change' && name !== null && this.#names?.has(name) === false) return;
        this.#news ??= setTimeout(() => void this.#hear(), newsMs);
      });
      // A folder that goes away ends the watching, not the looking.
      this.#watcher.on('error', () => this.#watcher?.close());
    } catch {
      this.#watcher = undefined;
    }
  }

  /** Looks now; resolves when a change has been dealt with. */
  look(): Promise<void> {
    this.#again = true;
    this.#looking ??= this.#lookUntilQuiet().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  /** To be called while a change is dealt with that could not be read: nothing at the files shows when they can be, so the next look tries. */
  forget(): void {
    this.#seen = undefined;
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    clearTimeout(this.#news);
    this.#watcher?.close();
  }

  #hear(): Promise<void> {
    this.#news = undefined;
    return this.look();
  }

  async #lookUntilQuiet(): Promise<void> {
    while (this.#again && !this.#closed) {
      this.#again = false;
      const paths = await this.#list();
      this.#names = new Set(paths.map((path) => basename(path)));
      const seen = (await Promise.all(paths.map(describe))).join('\n');
      if (seen === this.#seen) continue;
      this.#seen = seen;
      await this.#onChange();
    }
  }
}

/** What changes when a file does. Links are followed. */
async function describe(path: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return [path, dev, ino, size, mtimeNs, ctimeNs].join(' ');
  } catch {
    return '';
  }
}
