/** One way in which a secret may be written, so that a client could read it back. */
export interface Form {
  /** Its name in SECURITY. */
  readonly name: string;
  /** Whether every part of the secret is recognised in it, and not only its beginning with what follows. */
  readonly isCommon?: true;
  /** The texts that a secret comes to: several where the beginning of what stands around it shifts it. */
  readonly write: (secret: Buffer) => readonly Buffer[];
}

const ascii = (text: string): Buffer => Buffer.from(text, 'latin1');

/** Every byte by a rule, such as `%41`. */
function each(secret: Buffer, write: (byte: number) => string, between = ''): Buffer {
  const parts: string[] = [];
  for (const byte of secret) parts.push(write(byte));
  return ascii(parts.join(between));
}

const hex = (byte: number): string => byte.toString(16).padStart(2, '0');

/** Lower and upper case of the same text, after a prefix that stays as it is. */
function bothCases(secret: Buffer, prefix: string, between = ''): readonly Buffer[] {
  return [
    each(secret, (byte) => prefix + hex(byte), between),
    each(secret, (byte) => prefix + hex(byte).toUpperCase(), between),
  ];
}

/**
 * What a secret looks like within base64 of something longer: 3 bytes are 4 characters, so it depends on how many bytes stand before.
 * The characters that hold bits of both sides are left out.
 */
function base64(secret: Buffer): readonly Buffer[] {
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
function base32(secret: Buffer): readonly Buffer[] {
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

const unreserved = /^[A-Za-z0-9_.~-]$/;

function asUrlNeeds(byte: number): string {
  const character = String.fromCharCode(byte);
  return unreserved.test(character) ? character : `%${hex(byte)}`;
}

function utf16(secret: Buffer): readonly Buffer[] {
  const little = Buffer.from(secret.toString('latin1'), 'utf16le');
  return [little, Buffer.from(little).swap16()];
}

/**
 * The list: in these forms a secret that a tool gives back is masked (W3), whole or in a part of 23 bytes, across the borders of chunks,
 * and within answers that are compressed with gzip, deflate, br or zstd. SECURITY has the same list, and tests compare them.
 */
export const forms: readonly Form[] = [
  { name: 'as it is', isCommon: true, write: (secret) => [secret] },
  { name: 'backwards', isCommon: true, write: (secret) => [Buffer.from(secret.toReversed())] },
  { name: 'base64', isCommon: true, write: base64 },
  { name: 'base64 of base64', write: (secret) => base64(secret).flatMap((once) => base64(once)) },
  { name: 'base32', write: base32 },
  { name: 'hex', write: (secret) => bothCases(secret, '') },
  { name: 'hex with a colon', write: (secret) => bothCases(secret, '', ':') },
  { name: 'hex with a space', write: (secret) => bothCases(secret, '', ' ') },
  { name: 'hex with a hyphen', write: (secret) => bothCases(secret, '', '-') },
  { name: 'hex after \\x', write: (secret) => bothCases(secret, '\\x') },
  { name: 'hex after 0x', write: (secret) => [',', ', ', ' '].flatMap((mark) => bothCases(secret, '0x', mark)) },
  { name: 'percent-encoded, every byte', write: (secret) => bothCases(secret, '%') },
  { name: 'percent-encoded twice, every byte', write: (secret) => bothCases(secret, '%25') },
  {
    name: 'percent-encoded, where a URL needs it',
    write: (secret) => {
      const lower = each(secret, asUrlNeeds);
      return [lower, each(secret, (byte) => asUrlNeeds(byte).replace(/%../, (code) => code.toUpperCase()))];
    },
  },
  { name: 'quoted-printable, every byte', write: (secret) => [bothCases(secret, '=')[1] ?? secret] },
  { name: 'JSON with \\u escapes, every character', write: (secret) => bothCases(secret, '\\u00') },
  {
    name: 'JSON with \\/',
    write: (secret) => {
      // What has to be escaped, and what may be.
      const escaped = secret.toString('latin1').replaceAll(/["\\]/g, '\\$&');
      return [escaped, escaped.replaceAll('/', '\\/')].map(ascii);
    },
  },
  { name: 'character references, decimal', write: (secret) => [each(secret, (byte) => `&#${byte};`)] },
  {
    name: 'character references, hexadecimal',
    write: (secret) => ['&#x', '&#X'].flatMap((prefix) => bothCases(secret, prefix, ';')),
  },
  { name: 'a list of numbers', write: (secret) => [',', ', ', ' '].map((mark) => each(secret, String, mark)) },
  { name: 'UTF-16', write: utf16 },
];
