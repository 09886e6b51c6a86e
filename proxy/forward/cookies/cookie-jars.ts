import type { Target } from '../../intercept/target.ts';
import type { Errand } from '../../tasks/task.ts';
import { Secret } from '../../trust/secret.ts';
import type { World } from '../../world.ts';
import { type CookieLibrary, Jar } from './jar.ts';

/** Jars of all tasks; beyond, the oldest is emptied. */
const maxJars = 4096;
/** Origins of one tool that a task has jars for: the ports are the agent's choice. */
const maxOrigins = 8;
/** Values of one jar that are masked in an answer, the newest: each costs a look at all of it. */
const maxMasked = 8;
/** Values of all jars whose tables are kept, of some 100 KB each. */
const maxKeptValues = 64;
const nothing: readonly Secret[] = [];

/** The cookies that tools set in a task. */
export interface TaskCookies {
  /** Value of `Cookie` for this call; undefined for none. Rejects when the package that reads cookies cannot be loaded (W1). */
  headerFor(owner: Errand, target: Target): string | undefined | Promise<string | undefined>;
  /** Keeps what an answer sets, for the task's next calls of this tool. */
  take(owner: Errand, target: Target, lines: readonly string[]): void;
  /** What the agent must not see of them: with a session of the tool it would not need us any more. */
  secretsOf(owner: Errand, target: Target): readonly Secret[];
}

/**
 * The cookies that tools set where a credential of ours went: one jar for each task, tool and origin. A jar hangs on the task at its
 * tool and is gone with it; no other task has a way to it. In memory only.
 */
export class CookieJars implements TaskCookies {
  readonly #world: World;
  readonly #jars = new WeakMap<Errand, Map<string, Jar>>();
  /** As a ring, in the order in which they came. */
  readonly #all: WeakRef<Jar>[] = [];
  #next = 0;
  readonly #masks = new Map<string, Secret>();
  #library: CookieLibrary | undefined;
  #loading: Promise<CookieLibrary> | undefined;

  constructor(world: World) {
    this.#world = world;
  }

  headerFor(owner: Errand, target: Target): string | undefined | Promise<string | undefined> {
    const jar = this.#find(owner, target);
    if (jar === undefined) return undefined;
    const made = (library: CookieLibrary): string | undefined =>
      jar.headerFor(urlOf(target), this.#world.now(), library);
    return this.#library === undefined ? this.#load().then(made) : made(this.#library);
  }

  take(owner: Errand, target: Target, lines: readonly string[]): void {
    // What comes after the end of a task is nobody's.
    if (lines.length === 0 || owner.task.state !== 'open') return;
    const jar = this.#find(owner, target) ?? this.#open(owner, target);
    jar?.add(lines, urlOf(target), this.#world.now());
    // The next call shall not wait for it; should it fail, that call hears of it.
    if (this.#library === undefined) this.#load().catch(() => undefined);
  }

  secretsOf(owner: Errand, target: Target): readonly Secret[] {
    const jar = this.#find(owner, target);
    if (jar === undefined) return nothing;
    return [...new Set(jar.values().filter(isTelling))].slice(0, maxMasked).map((value) => this.#maskOf(value));
  }

  #find(owner: Errand, { origin }: Target): Jar | undefined {
    return this.#jars.get(owner)?.get(origin.text);
  }

  #open(owner: Errand, { origin }: Target): Jar | undefined {
    const jars = this.#jars.get(owner) ?? new Map<string, Jar>();
    if (jars.size >= maxOrigins) return undefined;
    const jar = new Jar();
    this.#jars.set(owner, jars.set(origin.text, jar));
    this.#all[this.#next]?.deref()?.clear();
    this.#all[this.#next] = new WeakRef(jar);
    this.#next = (this.#next + 1) % maxJars;
    return jar;
  }

  /** The same object for the same value, so that its table is made once. */
  #maskOf(value: string): Secret {
    const mask = this.#masks.get(value) ?? new Secret(value);
    this.#masks.delete(value);
    this.#masks.set(value, mask);
    const [oldest] = this.#masks.keys();
    if (this.#masks.size > maxKeptValues && oldest !== undefined) this.#masks.delete(oldest);
    return mask;
  }

  #load(): Promise<CookieLibrary> {
    this.#loading ??= import('tough-cookie').then((library) => (this.#library = library));
    return this.#loading;
  }
}

/** A path that is no part of a URL (`OPTIONS *`) has no cookies but those of all paths. */
function urlOf({ origin, path }: Target): string {
  return origin.text + (path.startsWith('/') ? path.replace(/[?#].*$/s, '') : '/');
}

/**
 * Whether a value says something that nobody else would: short ones in one case with a digit at most (`dark-mode`, `us-east-1`) are words,
 * and stars in their place would spoil answers that have nothing to do with the cookie.
 */
function isTelling(value: string): boolean {
  if (value.length < 8 || !/^[\x21-\x7e]*$/.test(value)) return false;
  return value.length >= 16 || /\d.*\d/.test(value) || (/[a-z]/.test(value) && /[A-Z]/.test(value));
}
