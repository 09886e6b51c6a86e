/**
 * The caller's headers without copies of its token: gateways put one into headers of their own (`X-Forwarded-Access-Token`), clients of a
 * browser's into a cookie. It is for us, and the program must not hold it.
 *
 * @param forward names and values in turn.
 */
export function withoutToken(forward: readonly string[], token: string): readonly string[] {
  let kept = forward;
  for (let at = forward.length - 2; at >= 0; at -= 2) {
    const value = forward[at + 1] ?? '';
    if (value.length < token.length || !value.includes(token)) continue;
    // The program's own cookies are in the same header.
    const rest = forward[at]?.toLowerCase() === 'cookie' ? otherCookies(value, token) : '';
    kept = rest === '' ? kept.toSpliced(at, 2) : kept.with(at + 1, rest);
  }
  return kept;
}

/** Pairs are parted by `;` and a space (RFC 6265 4.2.1); within a value there is none. */
function otherCookies(value: string, token: string): string {
  const others = value.split(';').filter((pair) => !pair.includes(token));
  return others.join(';').trim();
}
