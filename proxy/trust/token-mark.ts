/** Shorter parts of a token may stand in a text by chance (W8). */
const shortestMark = 16;

/**
 * What a copy of a token is known by: its signature. Without that the rest is good nowhere, and with it the rest is easily had, since claims
 * are no secret. It has no dots, which are written in several ways.
 */
export function markOf(token: string): string {
  const signature = token.slice(token.lastIndexOf('.') + 1);
  return signature.length < shortestMark ? token : signature;
}

/** Whether a text holds what has this mark, as it is or with the escapes of a URL, which whoever reads it takes away once. */
export function holdsMark(text: string, mark: string): boolean {
  // The way of nearly every text: it is too short, and nothing is built.
  if (text.length < mark.length) return false;
  return text.includes(mark) || (text.includes('%') && unescaped(text).includes(mark));
}

function unescaped(text: string): string {
  return text.replaceAll(/%[0-9a-f]{2}/gi, (escape) => String.fromCharCode(Number.parseInt(escape.slice(1), 16)));
}
