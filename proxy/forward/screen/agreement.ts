/** A secret as one form writes it. */
export interface Text {
  readonly bytes: Buffer;
  /** Its hex digits stand for those of the other case as well. */
  readonly inAnyCase: boolean;
}

/** A place in one form of a secret. */
export interface Place {
  readonly text: Text;
  readonly at: number;
}

/** How many bytes agree from these places on. */
export function agreement({ text: { bytes: text, inAnyCase }, at }: Place, bytes: Buffer, from: number): number {
  const most = Math.min(text.length - at, bytes.length - from);
  let count = 0;
  while (count < most && isSame(text[at + count], bytes[from + count], inAnyCase)) count++;
  return count;
}

/** The same, for what stands before these places. */
export function agreementBefore({ text, at }: Place, bytes: Buffer, from: number): number {
  const most = Math.min(at, from);
  let count = 0;
  while (count < most && isSame(text.bytes[at - count - 1], bytes[from - count - 1], text.inAnyCase)) count++;
  return count;
}

function isSame(written: number | undefined, byte: number | undefined, inAnyCase: boolean): boolean {
  return written === byte || (inAnyCase && byte !== undefined && inLowerCase(byte) === written);
}

/** Of a hex digit; all else as it is. */
export function inLowerCase(byte: number): number {
  return byte >= 0x41 && byte <= 0x46 ? byte | 0x20 : byte;
}

/** The same hex digit of the upper case; all else as it is. */
export function otherCase(byte: number): number {
  return byte >= 0x61 && byte <= 0x66 ? byte & 0xdf : byte;
}

/** Bytes of texts. */
export function sizeOf(texts: readonly Text[]): number {
  return texts.reduce((sum, { bytes }) => sum + bytes.length, 0);
}
