import {
  backslashed,
  base32,
  base64,
  each,
  hexOf,
  jsonOf,
  octalOf,
  percentAgain,
  rot13,
  signsOnly,
  utf16,
  utf32,
} from './writing.ts';

/** One way in which a secret may be written, so that a client could read it back. */
export interface Form {
  /** Its name in SECURITY. */
  readonly name: string;
  /** Whether every part of the secret is recognised in it, and not only its beginning with what follows. */
  readonly isCommon?: true;
  /** Hex digits are written in lower case here, and recognised in any mixture of cases. */
  readonly inAnyCase?: true;
  /** The texts that a secret comes to: several where the beginning of what stands around it shifts it. */
  readonly write: (secret: Buffer) => readonly Buffer[];
}

/** All but letters and digits. */
const signs = /[^A-Za-z0-9]/g;
/** What is encoded by RFC 3986, by JavaScript, in forms, and in a URL as a whole. */
const urls = [/[^\w.~-]/g, /[^\w.~!'()*-]/g, /[^\w.*-]/g, /[^\w.~!'()*;/?:@&=+$,#-]/g];
const percent = (hex: string): string => `%${hex}`;
const inUrls = (secret: Buffer): readonly Buffer[] => urls.flatMap((encoded) => signsOnly(secret, encoded, percent));
const percentSigns = (secret: Buffer): readonly Buffer[] => signsOnly(secret, signs, percent);
const indents = ['  ', '    ', '      ', '        ', '\t', '\t\t'].map((indent) => `,\n${indent}`);

/**
 * The list: in these forms a secret that a tool gives back is masked (W3), whole or in a part of 23 bytes, across the borders of chunks,
 * and within answers that are compressed with gzip, deflate, br or zstd. SECURITY has the same list, and tests compare them.
 */
export const forms: readonly Form[] = [
  { name: 'as it is', isCommon: true, write: (secret) => [secret] },
  { name: 'backwards', isCommon: true, write: (secret) => [Buffer.from(secret.toReversed())] },
  { name: 'base64', isCommon: true, write: base64 },
  { name: 'base64 of base64', write: (secret) => base64(secret).flatMap((once) => base64(once)) },
  { name: 'base64 of hex', write: (secret) => base64(hexOf(secret)) },
  { name: 'base64 of UTF-16', write: (secret) => utf16(secret).flatMap((wide) => base64(wide)) },
  { name: 'base32', write: base32 },
  { name: 'hex', inAnyCase: true, write: (secret) => [hexOf(secret)] },
  { name: 'hex of base64', inAnyCase: true, write: (secret) => base64(secret).map((text) => hexOf(text)) },
  { name: 'hex with a colon', inAnyCase: true, write: (secret) => [hexOf(secret, '', '', ':')] },
  { name: 'hex with a space', inAnyCase: true, write: (secret) => [hexOf(secret, '', '', ' ')] },
  { name: 'hex with a hyphen', inAnyCase: true, write: (secret) => [hexOf(secret, '', '', '-')] },
  {
    name: 'hex with a comma',
    inAnyCase: true,
    write: (secret) => [',', ', '].map((mark) => hexOf(secret, '', '', mark)),
  },
  {
    name: 'hex after \\x',
    inAnyCase: true,
    write: (secret) => ['\\x', '\\\\x'].map((mark) => hexOf(secret, mark)),
  },
  {
    name: 'hex after 0x',
    inAnyCase: true,
    write: (secret) =>
      [',', ', ', ' ', ''].flatMap((mark) => ['0x', '0X'].map((before) => hexOf(secret, before, '', mark))),
  },
  { name: 'octal after \\', write: (secret) => [octalOf(secret, '\\')] },
  { name: 'percent-encoded, every byte', inAnyCase: true, write: (secret) => [hexOf(secret, '%')] },
  {
    name: 'percent-encoded twice, every byte',
    inAnyCase: true,
    write: (secret) => [hexOf(secret, '%25'), hexOf(hexOf(secret, '%'), '%')],
  },
  { name: 'percent-encoded with %u, every character', inAnyCase: true, write: (secret) => [hexOf(secret, '%u00')] },
  { name: 'percent-encoded, where a URL needs it', write: inUrls },
  { name: 'percent-encoded twice, where a URL needs it', write: (secret) => percentAgain(inUrls(secret)) },
  {
    name: 'percent-encoded, all but letters and digits',
    write: (secret) => [...percentSigns(secret), ...percentAgain(percentSigns(secret))],
  },
  { name: 'quoted-printable, every byte', inAnyCase: true, write: (secret) => [hexOf(secret, '=')] },
  {
    name: 'quoted-printable, all but letters and digits',
    write: (secret) => signsOnly(secret, signs, (hex) => `=${hex}`),
  },
  {
    name: 'JSON with \\u escapes, every character',
    inAnyCase: true,
    write: (secret) => [hexOf(secret, '\\u00'), hexOf(secret, '\\\\u00'), hexOf(secret, '\\u{', '}')],
  },
  {
    name: 'JSON with \\u escapes, all but letters and digits',
    write: (secret) => signsOnly(secret, signs, (hex) => `\\u00${hex}`),
  },
  { name: 'JSON with \\/', write: jsonOf },
  {
    name: '\\x escapes, all but letters and digits',
    write: (secret) => signsOnly(secret, signs, (hex) => `\\x${hex}`),
  },
  { name: 'a backslash before signs', write: backslashed },
  {
    name: 'character references, decimal',
    write: (secret) => [
      each(secret, (byte) => `&#${byte};`),
      each(secret, (byte) => `&#${byte}`),
      each(secret, (byte) => `&#${String(byte).padStart(4, '0')};`),
      each(secret, (byte) => `&amp;#${byte};`),
    ],
  },
  {
    name: 'character references, hexadecimal',
    inAnyCase: true,
    write: (secret) => [
      hexOf(secret, '&#x', ';'),
      hexOf(secret, '&#X', ';'),
      hexOf(secret, '&#x'),
      hexOf(secret, '&#x00', ';'),
      hexOf(secret, '&amp;#x', ';'),
    ],
  },
  {
    name: 'character references, all but letters and digits',
    write: (secret) => [
      ...signsOnly(secret, signs, (hex) => `&#x${hex};`),
      ...signsOnly(secret, signs, (_hex, sign) => `&#${sign.charCodeAt(0)};`).slice(0, 1),
    ],
  },
  {
    name: 'a list of numbers',
    write: (secret) => [',', ', ', ' ', ';', '\n', ...indents].map((mark) => each(secret, String, mark)),
  },
  { name: 'UTF-16', write: utf16 },
  { name: 'UTF-32', write: utf32 },
  { name: 'ROT13', write: (secret) => [rot13(secret)] },
];
