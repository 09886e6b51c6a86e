/** What must not be found anywhere, with a name for the report that does not hold it. */
export interface KnownSecret {
  readonly name: string;
  /** A string is looked for in its escaped forms as well. */
  readonly value: string | Buffer;
}

/** Something that was left behind: a log, a file, an answer. */
export interface Leftover {
  readonly where: string;
  readonly bytes: Buffer;
}

const windowBytes = 16;
/** Base64 of 16 bytes whose last character does not depend on what follows. */
const base64Length = 21;

/**
 * Looks for every 16-byte window of every secret, raw, in base64 and base64url at any alignment, in hex, percent-encoded and
 * JSON-escaped. Returns one line for each secret and place where a part of it was found.
 */
export function findSecrets(secrets: readonly KnownSecret[], leftovers: readonly Leftover[]): string[] {
  const windows = new Map<number, Map<string, string>>();
  for (const { name, value } of secrets) {
    const bytes = Buffer.from(value as string, 'utf8');
    if (bytes.length < windowBytes) throw new Error(`${name} is too short to be looked for`);
    for (const window of windowsOf(bytes)) add(windows, window, name);
    // Escapes change the length, so they are looked for as slices of the escaped whole.
    const escaped = typeof value === 'string' ? [JSON.stringify(value).slice(1, -1), encodeURIComponent(value)] : [];
    for (const spelled of escaped) {
      for (const window of slices(normal(spelled), windowBytes)) add(windows, window, name);
    }
  }
  const found = new Map<string, string>();
  for (const { where, bytes } of leftovers) {
    const text = normal(bytes.toString('latin1'));
    const hexText = text.toLowerCase();
    for (const [length, names] of windows) {
      const searched = length === 2 * windowBytes ? hexText : text;
      for (let at = 0; at + length <= searched.length; at += 1) {
        const name = names.get(searched.slice(at, at + length));
        if (name !== undefined) found.set(`${name} in ${where}`, text.slice(Math.max(0, at - 80), at));
      }
    }
  }
  return [...found].map(([what, before]) => `${what}, after: ${before}`);
}

function windowsOf(bytes: Buffer): string[] {
  return slices(bytes.toString('latin1'), windowBytes).flatMap((raw) => {
    const window = Buffer.from(raw, 'latin1');
    return [normal(raw), window.toString('base64url').slice(0, base64Length), window.toString('hex')];
  });
}

function slices(text: string, length: number): string[] {
  return Array.from({ length: Math.max(0, text.length - length + 1) }, (_, at) => text.slice(at, at + length));
}

/** One spelling for both alphabets of base64. */
function normal(text: string): string {
  return text.replaceAll('+', '-').replaceAll('/', '_');
}

function add(windows: Map<number, Map<string, string>>, window: string, name: string): void {
  const ofLength = windows.get(window.length) ?? new Map<string, string>();
  windows.set(window.length, ofLength.set(window, name));
}

/** The secret part of a token: of a JWT its signature (text and bytes), else all of it. */
export function secretsOfToken(name: string, token: string): KnownSecret[] {
  const parts = token.split('.');
  const signature = parts.length === 3 ? (parts[2] ?? '') : token;
  if (signature === '') return [];
  const decoded = parts.length === 3 ? [Buffer.from(signature, 'base64url')] : [];
  return [{ name, value: signature }, ...decoded.map((value) => ({ name: `${name} (bytes)`, value }))];
}
