/** A JSON object. */
export type Members = Readonly<Record<string, unknown>>;

const maxNesting = 32;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The bytes of a part of a compact JWS, or undefined. Re-encoded and compared: lenient decoders give one token many spellings. */
export function decodeExactly(part: string): Buffer | undefined {
  const bytes = Buffer.from(part, 'base64url');
  return bytes.toString('base64url') === part ? bytes : undefined;
}

/** The object in a part of a compact JWS, or undefined. */
export function readMembers(part: string): Members | undefined {
  const bytes = decodeExactly(part);
  return bytes === undefined ? undefined : parseMembers(bytes);
}

/** A JSON object without repeated names (of two, one reader believes the first and another the last), or undefined. */
export function parseMembers(bytes: Uint8Array): Members | undefined {
  try {
    const text = utf8.decode(bytes);
    const value: unknown = JSON.parse(text);
    // Outside of strings a colon stands behind a name only, so the text has as many colons as names.
    const written = text.replaceAll(/"(?:[^"\\]|\\.)*"/g, '').split(':').length - 1;
    return isObject(value) && countNames(value, maxNesting) === written ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a value is a JSON object. */
export function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Names of all objects within a value; NaN, which equals nothing, where it nests too deep. */
function countNames(value: unknown, nesting: number): number {
  if (typeof value !== 'object' || value === null) return 0;
  if (nesting === 0) return Number.NaN;
  const own = Array.isArray(value) ? 0 : Object.keys(value).length;
  return Object.values(value).reduce<number>((sum, member) => sum + countNames(member, nesting - 1), own);
}
