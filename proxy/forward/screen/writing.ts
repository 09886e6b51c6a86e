/** How bytes are written down: each way as the texts that a secret comes to, of which a client could read it back. */

const ascii = (text: string): Buffer => Buffer.from(text, 'latin1');

// Of each byte once: a secret is written in a hundred ways when it is first used.
const hexDigits = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
const octalDigits = Array.from({ length: 256 }, (_, byte) => byte.toString(8).padStart(3, '0'));
const hexOfSign = (sign: string): string => hexDigits[sign.charCodeAt(0)] ?? '';

/** Every byte by a rule, such as `%41`. */
export function each(secret: Buffer, write: (byte: number) => string, between = ''): Buffer {
  let text = '';
  for (const byte of secret) text += text === '' ? write(byte) : between + write(byte);
  return ascii(text);
}

/** Hex digits of every byte, in lower case, with something before, behind and between. */
export function hexOf(secret: Buffer, before = '', behind = '', between = ''): Buffer {
  let text = '';
  const mark = between + before;
  for (const byte of secret) text += (text === '' ? before : mark) + (hexDigits[byte] ?? '') + behind;
  return ascii(text);
}

/** Three octal digits of every byte. */
export function octalOf(secret: Buffer, before: string): Buffer {
  return each(secret, (byte) => before + (octalDigits[byte] ?? ''));
}

/** Some signs by a rule and all else as it is; where the rule writes hex, once for each case. */
export function signsOnly(
  secret: Buffer,
  signs: RegExp,
  write: (hex: string, sign: string) => string,
): readonly Buffer[] {
  const text = secret.toString('latin1');
  const lower = text.replaceAll(signs, (sign) => write(hexOfSign(sign), sign));
  return [lower, text.replaceAll(signs, (sign) => write(hexOfSign(sign).toUpperCase(), sign))].map(ascii);
}

/** What is percent-encoded once, encoded once more. */
export function percentAgain(texts: readonly Buffer[]): readonly Buffer[] {
  return texts.map((text) => ascii(text.toString('latin1').replaceAll('%', '%25')));
}

/**
 * What a secret looks like within base64 of something longer: 3 bytes are 4 characters, so it depends on how many bytes stand before.
 * The characters that hold bits of both sides are left out.
 */
export function base64(secret: Buffer): readonly Buffer[] {
  const texts = new Set<string>();
  for (let before = 0; before < 3; before++) {
    const whole = Buffer.concat([Buffer.alloc(before), secret]);
    const full = whole.length - (whole.length % 3);
    const from = before === 0 ? 0 : 4;
    for (const alphabet of ['base64', 'base64url'] as const) {
      texts.add(whole.toString(alphabet, 0, full).slice(from));
    }
  }
  return [...texts].map(ascii);
}

const base32Alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** The same of base32 (RFC 4648 6): 5 bytes are 8 characters. */
export function base32(secret: Buffer): readonly Buffer[] {
  const texts: Buffer[] = [];
  for (let before = 0; before < 5; before++) {
    const whole = Buffer.concat([Buffer.alloc(before), secret]);
    let text = '';
    for (let bit = before === 0 ? 0 : 40; bit + 5 <= whole.length * 8; bit += 5) {
      const [high = 0, low = 0] = whole.subarray(bit >> 3);
      text += base32Alphabet[(((high << 8) | low) >> (11 - (bit & 7))) & 31] ?? '';
    }
    texts.push(ascii(text), ascii(text.toLowerCase()));
  }
  return texts;
}

/** Little and big end first. */
export function utf16(secret: Buffer): readonly Buffer[] {
  const little = Buffer.from(secret.toString('latin1'), 'utf16le');
  return [little, Buffer.from(little).swap16()];
}

/** The same with four bytes for each character. */
export function utf32(secret: Buffer): readonly Buffer[] {
  const little = each(secret, (byte) => `${String.fromCharCode(byte)}\0\0\0`);
  return [little, Buffer.from(little).swap32()];
}

/** Letters 13 places further; whoever does it again has them back. */
export function rot13(secret: Buffer): Buffer {
  return each(secret, (byte) => {
    const letter = byte | 0x20;
    if (letter < 0x61 || letter > 0x7a) return String.fromCharCode(byte);
    return String.fromCharCode(letter < 0x6e ? byte + 13 : byte - 13);
  });
}

/** `\"` and `\\` as JSON has to, and `\/` as it may. */
export function jsonOf(secret: Buffer): readonly Buffer[] {
  const escaped = secret.toString('latin1').replaceAll(/["\\]/g, '\\$&');
  return [escaped, escaped.replaceAll('/', '\\/')].map(ascii);
}

/** A backslash before signs, as Markdown has it: before `_` alone, with `-`, or before all. */
export function backslashed(secret: Buffer): readonly Buffer[] {
  const text = secret.toString('latin1');
  return [/[_*\\]/g, /[-_*\\]/g, /[^A-Za-z0-9]/g].map((signs) => ascii(text.replaceAll(signs, '\\$&')));
}
