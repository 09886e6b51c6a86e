/**
 * Handles inside other texts. Clients and agents write them raw, percent-encoded and in base64 (WIRE 4), and what reads them must see
 * the same handle in each.
 */
const overlapping = /(?=(wbh_[A-Za-z0-9_-]{51}))/g;
/** What `wbh_` looks like in base64 at each of the three places in a group of three bytes. */
const encodedMarks = ['d2JoX', 'diaF', '3Ymhf'];
const encodedRun = /[A-Za-z0-9+/_-]{70,}/g;

/** Characters of a handle in its shortest spelling: what is shorter holds none, as nearly all headers. */
export const handleLength = 55;

/** Whether a text could hold a handle or a part of one, of whatever process, in any spelling. */
export function mayHoldHandle(text: string): boolean {
  const plain = text.includes('%') ? unescapedAscii(text) : text;
  if (plain.includes('wbh_')) return true;
  for (const mark of encodedMarks) if (plain.includes(mark)) return true;
  return false;
}

/** Whether something in a text begins as a handle does, and not in the middle of other letters. */
export function standsAlone(text: string): boolean {
  return /(?<![A-Za-z0-9_+/-])wbh_/.test(unescapedAscii(text));
}

/** Looked for at its dots: from each `ey` on, a text of many of them would be read to its end again and again. */
const tokenStart = /(?<=ey[A-Za-z0-9_-]{8,})\.[A-Za-z0-9_-]+\./;

/** Whether a text could hold a compact JWS: its header is a JSON object, in base64url `ey…`, and dots may be percent-encoded. */
export function mayHoldToken(text: string): boolean {
  // What is escaped twice is read by a program that decodes twice.
  const plain = text.includes('%') ? unescapedAscii(unescapedAscii(text)) : text;
  return plain.includes('ey') && tokenStart.test(plain);
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

/** Longest header value that is searched: an inert token has all claims of the caller's, and may stand in base64. */
const maxValue = 32_768;

/**
 * The handle inside a header value, in any form that clients make of it: raw, `Bearer`, `Basic` user or password, percent-encoded,
 * base64. Undefined where none begins with `wbh_`: then the value is the agent's own.
 */
export function findHandleText(value: string): string | undefined {
  if (value.length > maxValue) return undefined;
  const match = /^(?:(?<scheme>bearer|basic|token|dpop)[ \t]+)?(?<rest>\S.*)$/i.exec(value.trim());
  const rest = match?.groups?.['rest'] ?? '';
  const plain = unescaped(rest);
  if (plain.startsWith('wbh_')) return plain;
  const inert = handleInToken(plain);
  if (inert !== undefined) return inert;
  if (!/^[A-Za-z0-9+/_-]+={0,2}$/.test(plain)) return undefined;
  const decoded = Buffer.from(plain, 'base64').toString('latin1');
  const colon = decoded.indexOf(':');
  return [decoded.slice(colon + 1), decoded.slice(0, Math.max(0, colon))]
    .map(unescaped)
    .map((part) => (part.startsWith('wbh_') ? part : handleInToken(part)))
    .find((part) => part !== undefined);
}

/** The name by which an agent reaches the sidecar through its proxy setting. It is never looked up, and no tool is called by it. */
export const sidecarName = 'waybill.local';

/** Issuer of the tokens that stand in for handles. Nobody else trusts it: such a token is worth what a handle is. */
export const inertIssuer = `http://${sidecarName}`;

/**
 * The handle in an inert token, of this process or of one before. Its signature is not looked at: whoever can write the handle into a
 * token has the handle, and the handle is all that counts.
 */
function handleInToken(text: string): string | undefined {
  const payload = /^eyJ[A-Za-z0-9_-]+\.(?<payload>[A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+$/.exec(text)?.groups?.['payload'];
  if (payload === undefined) return undefined;
  const claims = Buffer.from(payload, 'base64url').toString('latin1');
  if (!claims.startsWith(`{"iss":"${inertIssuer}",`)) return undefined;
  return /"jti":"(?<handle>wbh_[A-Za-z0-9_-]{51})"/.exec(claims)?.groups?.['handle'] ?? 'wbh_';
}

function unescaped(text: string): string {
  if (!text.includes('%')) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
