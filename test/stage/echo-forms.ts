import { randomInt } from 'node:crypto';

/** How a tool may write down what it was sent. */
type Write = (bytes: Buffer) => Buffer;

const text =
  (write: (text: string, bytes: Buffer) => string): Write =>
  (bytes) =>
    Buffer.from(write(bytes.toString('latin1'), bytes), 'latin1');
const each = (write: (byte: number) => string, between = ''): Write =>
  text((_t, bytes) => [...bytes].map(write).join(between));
const hex = (byte: number): string => byte.toString(16).padStart(2, '0');
const HEX = (byte: number): string => hex(byte).toUpperCase();
/** Each digit in a case of its own. */
const hEx = (byte: number): string =>
  Array.from(hex(byte), (digit) => (randomInt(2) === 0 ? digit : digit.toUpperCase())).join('');
const cases = (write: (digits: (byte: number) => string) => Write): Write[] => [hex, HEX, hEx].map(write);
const all = (before: string, between = '', behind = ''): Write[] =>
  cases((digits) => each((byte) => before + digits(byte) + behind, between));
const signs = (write: (sign: string) => string): Write => text((t) => t.replace(/[^A-Za-z0-9]/g, write));
const code = (sign: string): number => sign.charCodeAt(0);
const base = (alphabet: 'base64' | 'base64url', bytes: Buffer): Buffer => Buffer.from(bytes.toString(alphabet));
const base64s = (inner: Write): Write[] =>
  (['base64', 'base64url'] as const).map((alphabet) => (bytes) => base(alphabet, inner(bytes)));
const wide: Write = (bytes) => Buffer.from(bytes.toString('latin1'), 'utf16le');
const big: Write = (bytes) => wide(bytes).swap16();

function base32(bytes: Buffer): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  const digits = (bits.match(/.{1,5}/g) ?? []).map((five) => alphabet[Number.parseInt(five.padEnd(5, '0'), 2)]);
  return digits.join('').padEnd(Math.ceil(digits.length / 8) * 8, '=');
}

function turned(letter: string): string {
  const from = letter < 'a' ? 65 : 97;
  return String.fromCharCode(((code(letter) - from + 13) % 26) + from);
}

/**
 * The forms of SECURITY, each in the ways in which a tool may have meant it, written down anew from its name there: a list that was made
 * from the program would only say what the program says.
 */
export const echoForms: Readonly<Record<string, readonly Write[]>> = {
  'as it is': [(bytes) => bytes],
  backwards: [(bytes) => Buffer.from([...bytes].toReversed())],
  base64: base64s((bytes) => bytes),
  'base64 of base64': [...base64s((bytes) => base('base64', bytes)), ...base64s((bytes) => base('base64url', bytes))],
  'base64 of hex': base64s(each(hex)),
  'base64 of UTF-16': [...base64s(wide), ...base64s(big)],
  base32: [text((_t, bytes) => base32(bytes)), text((_t, bytes) => base32(bytes).replace(/=+$/, '').toLowerCase())],
  hex: all(''),
  'hex of base64': [text((_t, bytes) => base('base64', bytes).toString('hex'))],
  'hex with a colon': all('', ':'),
  'hex with a space': all('', ' '),
  'hex with a hyphen': all('', '-'),
  'hex with a comma': [...all('', ','), ...all('', ', ')],
  'hex after \\x': [...all('\\x'), ...all('\\\\x')],
  'hex after 0x': [...all('0x', ', '), ...all('0x', ','), ...all('0x', ' '), ...all('0x'), ...all('0X', ', ')],
  'octal after \\': [each((byte) => `\\${byte.toString(8).padStart(3, '0')}`)],
  'percent-encoded, every byte': all('%'),
  'percent-encoded twice, every byte': [
    ...all('%25'),
    (bytes) => each((byte) => `%${hex(byte)}`)(each((byte) => `%${hex(byte)}`)(bytes)),
  ],
  'percent-encoded with %u, every character': all('%u00'),
  'percent-encoded, where a URL needs it': [
    text(encodeURIComponent),
    text(encodeURI),
    text((t) => String(new URLSearchParams({ t })).slice(2)),
  ],
  'percent-encoded twice, where a URL needs it': [text((t) => encodeURIComponent(encodeURIComponent(t)))],
  'percent-encoded, all but letters and digits': [
    signs((sign) => `%${HEX(code(sign))}`),
    signs((sign) => `%25${hex(code(sign))}`),
  ],
  'quoted-printable, every byte': all('='),
  'quoted-printable, all but letters and digits': [signs((sign) => `=${HEX(code(sign))}`)],
  'JSON with \\u escapes, every character': [...all('\\u00'), ...all('\\\\u00'), ...all('\\u{', '', '}')],
  'JSON with \\u escapes, all but letters and digits': [signs((sign) => `\\u00${hex(code(sign))}`)],
  'JSON with \\/': [text((t) => JSON.stringify(t).slice(1, -1).replaceAll('/', '\\/'))],
  '\\x escapes, all but letters and digits': [signs((sign) => `\\x${hex(code(sign))}`)],
  'a backslash before signs': [signs((sign) => `\\${sign}`), text((t) => t.replaceAll('_', '\\_'))],
  'character references, decimal': [
    each((byte) => `&#${byte};`),
    each((byte) => `&#${byte}`),
    each((byte) => `&#${String(byte).padStart(4, '0')};`),
    each((byte) => `&amp;#${byte};`),
  ],
  'character references, hexadecimal': [
    ...all('&#x', '', ';'),
    ...all('&#X', '', ';'),
    ...all('&#x'),
    ...all('&#x00', '', ';'),
    ...all('&amp;#x', '', ';'),
  ],
  'character references, all but letters and digits': [
    signs((sign) => `&#x${HEX(code(sign))};`),
    signs((sign) => `&#${code(sign)};`),
  ],
  'a list of numbers': [
    ...[',', ', ', ' ', ';', '\n'].map((mark) => each(String, mark)),
    ...[2, 4].map((indent) => text((_t, bytes) => JSON.stringify([...bytes], undefined, indent))),
    text((_t, bytes) => JSON.stringify(bytes, undefined, 2)),
    text((_t, bytes) => JSON.stringify({ token: bytes }, undefined, 2)),
  ],
  'UTF-16': [wide, big],
  'UTF-32': [
    (bytes) => Buffer.concat([...bytes].map((byte) => Buffer.of(byte, 0, 0, 0))),
    (bytes) => Buffer.concat([...bytes].map((byte) => Buffer.of(0, 0, 0, byte))),
  ],
  ROT13: [text((t) => t.replace(/[a-z]/gi, turned))],
};
