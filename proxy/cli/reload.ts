import { existsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readConfigBytes } from '../../config/config-bytes.ts';
import { ConfigErrors } from '../../config/config-errors.ts';
import { configDigest } from '../../config/load.ts';
import type { Surroundings } from '../../config/paths.ts';
import { faultFacts, type ProcessLog } from '../process-log.ts';
import type { Sidecar } from '../sidecar.ts';
import { WatchedFiles } from '../spiffe/watched-files.ts';
import { loadConfigFile } from './config-file.ts';

/** A file that is written in place is not whole at the first news of it, milliseconds. */
const settlesMs = 100;
/** How long a look waits for a free descriptor, milliseconds. */
const againMs = 1000;
/** Editors empty a file and then write it, and others move it away first: an absence that lasts this long is meant, milliseconds. */
const absenceMs = 5000;
/** State of a file that is empty or not there. */
const absent = 'absent';

const reloaded = 'the configuration was reloaded';
/** Of a mounted file that was replaced outside of its container, the old one is still read in it: to call that a reload would hide it. */
const unchanged = 'the configuration is unchanged; the files that it names were read anew';

/** Gives a running sidecar its configuration anew, when the file is another one and when it is told to. */
export class ConfigReload {
  readonly #file: string;
  readonly #surroundings: Surroundings;
  readonly #sidecar: Pick<Sidecar, 'reload' | 'rejected'>;
  readonly #log: ProcessLog;
  readonly #watched: WatchedFiles;
  /** Of the content that was looked at last, good or not: its digest, or why it cannot be read. */
  #seen: string;
  #again: NodeJS.Timeout | undefined;
  /** Runs while the file is empty or gone, until that is told. */
  #absence: NodeJS.Timeout | undefined;
  /** A pipe that is gone was read when it was there. */
  readonly #isPipe: boolean;
  /** Whether it was told that no file can be opened; that is told once for as long as it lasts. */
  #isShort = false;
  #closed = false;

  /** @param digest of the configuration that is in force. */
  constructor(
    { file, surroundings }: { readonly file: string; readonly surroundings: Surroundings },
    digest: string,
    sidecar: Pick<Sidecar, 'reload' | 'rejected'>,
    log: ProcessLog,
  ) {
    this.#file = file;
    this.#surroundings = surroundings;
    // A pipe cannot be read again, which is no news. Whatever else became of the file since it was read, is.
    const pipe = stateOfPipe(file);
    this.#isPipe = pipe !== undefined;
    this.#seen = pipe ?? digest;
    this.#sidecar = sidecar;
    this.#log = log;
    this.#watched = new WatchedFiles(
      dirname(file),
      () => Promise.resolve([file]),
      () => this.#look(),
    );
  }

  /** Takes the file as it is now, changed or not: the files that it names may be others. Never throws. */
  now(): void {
    // What is refused now and then gives way to what is in force is news, although that is what was seen before.
    if (!this.#isPipe) this.#seen = '';
    this.#take(undefined);
  }

  /** @param settled state of the content that is meant; undefined: whatever stands there. */
  #take(settled: string | undefined): void {
    clearTimeout(this.#again);
    this.#isBack();
    // A sidecar that stops takes nothing up any more.
    if (this.#closed) return;
    // Looked at before it is loaded: what is put there meanwhile was not refused, and is news.
    const refused = settled === undefined && !this.#isPipe ? stateNow(this.#file) : undefined;
    try {
      const { config } = loadConfigFile(this.#file, this.#surroundings, 'regular file');
      // Somebody writes again meanwhile: that is a change of its own, and is waited for like any other, also one back to this text.
      if (settled !== undefined && config.digest !== settled) {
        this.#seen = '';
        return;
      }
      this.#seen = config.digest;
      const isOther = this.#sidecar.reload(config);
      this.#isShort = false;
      this.#log.info({ config: config.digest.slice(0, 16) }, isOther ? reloaded : unchanged);
    } catch (error) {
      // Nothing is said of the file: it was not looked at.
      if (shortageOf(error) !== undefined) {
        this.#tellShortage(error);
        this.#again = setTimeout(() => this.#take(settled), againMs).unref();
        return;
      }
      this.#isShort = false;
      // Told now, and not once more by the look that follows: only another content is news.
      if (refused !== undefined) this.#seen = refused;
      this.#sidecar.rejected(error instanceof ConfigErrors ? error.errors.map(({ path }) => path) : []);
      const why = error instanceof ConfigErrors ? { errors: error.message.split('\n') } : faultFacts(error);
      this.#log.error(why, 'the changed configuration is not taken; the one before stays in force');
    }
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#again);
    this.#isBack();
    this.#watched.close();
  }

  /** The state, when it is the same twice: half of a file may well be a good configuration, without the rules at its end. */
  async #settled(): Promise<string | undefined> {
    for (let before: string | undefined; ;) {
      await sleep(settlesMs);
      if (this.#closed) return undefined;
      try {
        const state = stateOf(this.#file);
        this.#isShort = false;
        if (state === before) return state;
        before = state;
      } catch (error) {
        this.#tellShortage(error);
        await sleep(againMs, undefined, { ref: false });
      }
    }
  }

  #tellShortage(error: unknown): void {
    const code = shortageOf(error);
    if (!this.#isShort)
      this.#log.warn({ code }, 'no file can be opened; the configuration is looked at again until one can');
    this.#isShort = true;
  }

  async #look(): Promise<void> {
    const state = await this.#settled();
    if (this.#closed) return;
    if (state === undefined) {
      // Gone for a moment, as while it is replaced: nothing is said of it, and what is in force stays.
      if (!this.#isPipe && this.#seen !== absent)
        this.#absence ??= setTimeout(() => this.#tellAbsence(), absenceMs).unref();
      return;
    }
    this.#isBack();
    if (state === this.#seen) return;
    this.#seen = state;
    this.#take(state);
  }

  /** Tells of a file that stayed away like of any other that is not taken: who emptied it may believe that it is in force. */
  #tellAbsence(): void {
    this.#absence = undefined;
    try {
      // What was written just now may be half of it: it is looked at like every change.
      if (stateOf(this.#file) !== undefined) return;
    } catch {
      // No file can be opened, which the next attempt tells.
    }
    this.#seen = absent;
    this.#take(absent);
  }

  #isBack(): void {
    clearTimeout(this.#absence);
    this.#absence = undefined;
  }
}

/** Digest of the content, or why it cannot be read; undefined for a file that is empty or not there. Throws where no file can be opened. */
function stateOf(file: string): string | undefined {
  try {
    const bytes = readConfigBytes(file, 'regular file');
    return bytes.length === 0 ? undefined : configDigest(bytes);
  } catch (error) {
    if (shortageOf(error) !== undefined) throw error;
    return existsSync(file) && error instanceof Error ? error.message : undefined;
  }
}

function stateNow(file: string): string {
  try {
    return stateOf(file) ?? absent;
  } catch {
    return '';
  }
}

/** What the system says where this process, or the machine, has as many files open as it may: that is no word about the file, and passes. */
function shortageOf(error: unknown): string | undefined {
  const cause = error instanceof ConfigErrors ? error.cause : error;
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  return code === 'EMFILE' || code === 'ENFILE' ? code : undefined;
}

/** Of a pipe, which cannot be read again. */
function stateOfPipe(file: string): string | undefined {
  try {
    return statSync(file).isFIFO() ? stateOf(file) : undefined;
  } catch {
    return undefined;
  }
}
