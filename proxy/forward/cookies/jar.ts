import type { Cookie, CookieJar, MemoryCookieStore } from 'tough-cookie';

/** The package that knows RFC 6265bis; loaded when the first cookie comes. */
export type CookieLibrary = typeof import('tough-cookie');

/** Cookies of one jar; beyond, the oldest is dropped (RFC 6265bis 6.1 asks for 50 at least). */
const maxCookies = 50;
/** Characters of one jar: servers take 8 KB for a line, or 16 KB for all headers, and would refuse every call that has more. */
const maxJarBytes = 8000;
/** Name and value of one cookie (RFC 6265bis 5.7, 1); a longer one is ignored. */
const maxCookieBytes = 4096;
/** A whole `Set-Cookie`, with its attributes. */
const maxLineBytes = 8192;
/** Characters of lines that wait for the package, or for the next call, which may never come. */
const maxWaitingBytes = 16_384;
/** A path that a cookie without `Path` is for; of a longer one it is for all (RFC 6265bis 5.1.4 means folders). */
const maxUrlBytes = 2048;

/** One `Set-Cookie` as it came. */
interface Line {
  readonly text: string;
  /** URL of the request that it answers. */
  readonly url: string;
  readonly atMs: number;
}

/** The cookies of one task at one origin of one tool. They cannot be printed (W8). */
export class Jar {
  #jar: CookieJar | undefined;
  #store: MemoryCookieStore | undefined;
  #waiting: Line[] = [];

  /** Takes what an answer sets. It is read when the next call needs it: most answers that set a cookie are the last. */
  add(texts: readonly string[], url: string, atMs: number): void {
    const at = url.length > maxUrlBytes ? new URL('/', url).href : url;
    for (const text of texts) if (text.length <= maxLineBytes) this.#waiting.push({ text, url: at, atMs });
    let size = this.#waiting.reduce((sum, line) => sum + line.text.length + line.url.length, 0);
    while (size > maxWaitingBytes) {
      const oldest = this.#waiting.shift();
      size -= oldest === undefined ? size : oldest.text.length + oldest.url.length;
    }
  }

  /** The value of `Cookie` for a request; undefined where no cookie is for it. */
  headerFor(url: string, nowMs: number, library: CookieLibrary): string | undefined {
    this.#read(library);
    const found = this.#jar?.getCookiesSync(url, { expire: false, sort: true }) ?? [];
    const sent = found.filter((cookie) => !isOver(cookie, nowMs)).map((cookie) => cookie.cookieString());
    return sent.length === 0 ? undefined : sent.join('; ');
  }

  /** Values of all cookies, those that came last first; of those that were not read yet, as they came. */
  values(): readonly string[] {
    const waiting = this.#waiting.map(({ text }) => (text.split(';', 1)[0] ?? '').replace(/^[^=]*=\s*/, '').trim());
    const all = [...this.#all().map(({ value }) => value), ...waiting];
    return all.map((value) => value.replace(/^"(.*)"$/, '$1')).toReversed();
  }

  /** Forgets everything: there are too many jars. */
  clear(): void {
    this.#waiting = [];
    this.#jar = this.#store = undefined;
  }

  #read(library: CookieLibrary): void {
    for (const line of this.#waiting) this.#set(line, library);
    this.#waiting = [];
  }

  #set({ text, url, atMs }: Line, library: CookieLibrary): void {
    const cookie = library.Cookie.parse(text);
    if (cookie === undefined || cookie.key.length + cookie.value.length > maxCookieBytes) return;
    // It would end a header.
    if (!/^[\x20-\x7e\x80-\xff]*$/.test(cookie.cookieString())) return;
    // The package counts Max-Age from the last use, and a session would never end that is used (RFC 6265bis 5.7, 3: from now on).
    if (cookie.maxAge !== null) {
      cookie.setExpires(new Date(Math.min(atMs + Math.max(Number(cookie.maxAge), -1) * 1000, 8.64e15)));
      cookie.maxAge = null;
    }
    // Nobody reads them, and they have no bound.
    cookie.extensions = null;
    this.#store ??= new library.MemoryCookieStore();
    this.#jar ??= new library.CookieJar(this.#store, {
      rejectPublicSuffixes: true,
      prefixSecurity: 'silent',
      enforceSecureOriginOnStorage: true,
    });
    this.#jar.setCookieSync(cookie, url, { now: new Date(atMs), ignoreError: true });
    this.#trim(atMs);
  }

  #trim(nowMs: number): void {
    for (const cookie of this.#all()) if (isOver(cookie, nowMs)) this.#remove(cookie);
    // In the order in which they came.
    const left = [...this.#all()];
    let bytes = left.reduce((sum, cookie) => sum + sizeOf(cookie), 0);
    while (left.length > maxCookies || bytes > maxJarBytes) {
      const oldest = left.shift();
      if (oldest === undefined) return;
      bytes -= sizeOf(oldest);
      this.#remove(oldest);
    }
  }

  #all(): readonly Cookie[] {
    let all: readonly Cookie[] = [];
    this.#store?.getAllCookies((_error, cookies) => {
      all = cookies ?? [];
    });
    return all;
  }

  #remove({ domain, path, key }: Cookie): void {
    if (domain !== null && path !== null) this.#store?.removeCookie(domain, path, key, () => undefined);
  }
}

function isOver({ expires }: Cookie, nowMs: number): boolean {
  return expires instanceof Date && expires.getTime() <= nowMs;
}

/** With what parts it from the next one in a header. */
function sizeOf({ key, value, path }: Cookie): number {
  return key.length + value.length + (path?.length ?? 0) + 3;
}
