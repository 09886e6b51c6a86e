/**
 * Handles inside other texts. Clients and agents write them raw, percent-encoded and in base64 (WIRE 4), and what reads them must see
 * the same handle in each.
 */
const overlapping = /(?=(wbh_[A-Za-z0-9_-]{51}))/g;
/** What `wbh_` looks like in base64 at each of the three places in a group of three bytes. */
const encodedMarks = ['d2JoX', 'diaF', '3Ymhf'];
const encodedRun = /[A-Za-z0-9+/_-]{70,}/g;

/** Whether a text could hold a handle, of whatever process, in any spelling. Cheap enough for every header of every call. */
export function mayHoldHandle(text: string): boolean {
  const plain = unescapedAscii(text);
  return plain.includes('wbh_') || encodedMarks.some((mark) => plain.includes(mark));
}

/** Everything in a text that has the shape of a handle, in any spelling; they may overlap, or one could hide behind its own prefix. */
export function handleTextsIn(text: string): string[] {
  const plain = unescapedAscii(text);
  const found = shapesIn(plain);
  if (!encodedMarks.some((mark) => plain.includes(mark))) return found;
  for (const [run] of plain.matchAll(encodedRun)) {
    // Where a run begins in its group of four is unknown: a header may glue other letters to it.
    for (let skip = 0; skip < 4; skip += 1) {
      found.push(...shapesIn(unescapedAscii(Buffer.from(run.slice(skip), 'base64').toString('latin1'))));
    }
  }
  return found;
}

function shapesIn(text: string): string[] {
  return Array.from(text.matchAll(overlapping), (match) => match[1] ?? '');
}

/** Percent-decoded as far as ASCII goes: broken escapes stay, since nobody promises that a header holds a URI. */
function unescapedAscii(text: string): string {
  if (!text.includes('%')) return text;
  return text.replaceAll(/%([2-7][0-9a-f])/gi, (_whole, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 16)),
  );
}

/**
 * The handle inside a header value, in any form that clients make of it: raw, `Bearer`, `Basic` user or password, percent-encoded,
 * base64. Undefined where none begins with `wbh_`: then the value is the agent's own.
 */
export function findHandleText(value: string): string | undefined {
  if (value.length > 4096) return undefined;
  const match = /^(?:(?<scheme>bearer|basic|token|dpop)[ \t]+)?(?<rest>\S.*)$/i.exec(value.trim());
  const rest = match?.groups?.['rest'] ?? '';
  const plain = unescaped(rest);
  if (plain.startsWith('wbh_')) return plain;
  if (!/^[A-Za-z0-9+/_-]+={0,2}$/.test(plain)) return undefined;
  const decoded = Buffer.from(plain, 'base64').toString('latin1');
  const colon = decoded.indexOf(':');
  return [decoded.slice(colon + 1), decoded.slice(0, Math.max(0, colon))]
    .map(unescaped)
    .find((part) => part.startsWith('wbh_'));
}

function unescaped(text: string): string {
  if (!text.includes('%')) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
