import type { HeaderList } from '../intercept/header-list.ts';
import { holdsMark, markOf } from '../trust/token-mark.ts';

/** All that a request brings and that goes on with it, other than in the place of the credential. */
export type PassedHeaders = Pick<HeaderList, 'forward' | 'selection' | 'cookies' | 'via'>;

/**
 * The caller's headers without copies of its token: gateways put one into headers of their own (`X-Forwarded-Access-Token`), clients of a
 * browser's into a cookie. It is for us, and the program must not hold it, wherever it stands.
 */
export function withoutCopies({ forward, selection, cookies, via }: PassedHeaders, token: string): PassedHeaders {
  const mark = markOf(token);
  return {
    forward: withoutToken(forward, mark),
    selection: withoutToken(selection, mark),
    cookies: withoutToken(cookies, mark),
    via: via !== undefined && holdsMark(via, mark) ? undefined : via,
  };
}

/**
 * @param forward names and values in turn.
 * @param mark What the token is known by.
 */
export function withoutToken(forward: readonly string[], mark: string): readonly string[] {
  let kept = forward;
  for (let at = forward.length - 2; at >= 0; at -= 2) {
    const name = forward[at] ?? '';
    const value = forward[at + 1] ?? '';
    // A name may be any text of the letters that tokens are written with.
    if (holdsMark(name, mark)) kept = kept.toSpliced(at, 2);
    else if (holdsMark(value, mark)) {
      // The program's own cookies are in the same header.
      const rest = name.toLowerCase() === 'cookie' ? otherCookies(value, mark) : '';
      kept = rest === '' ? kept.toSpliced(at, 2) : kept.with(at + 1, rest);
    }
  }
  return kept;
}

/** Pairs are parted by `;` and a space (RFC 6265 4.2.1); within a value there is none. */
function otherCookies(value: string, mark: string): string {
  const others = value.split(';').filter((pair) => !holdsMark(pair, mark));
  return others.join(';').trim();
}
