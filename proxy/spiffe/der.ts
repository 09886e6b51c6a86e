/** Bytes that are not the DER they should be. */
export class MalformedDer extends Error {
  constructor() {
    super('malformed DER');
  }
}

/** Tags that certificates are made of (X.690 8, X.680 8.6). */
export const derTag = {
  boolean: 0x01,
  integer: 0x02,
  bits: 0x03,
  octets: 0x04,
  oid: 0x06,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
} as const;

/**
 * One DER value (X.690 10.1: definite, shortest lengths). It points into the bytes that it was read from and copies nothing; every
 * method throws MalformedDer for what is not of its form.
 */
export class DerValue {
  /** The one byte of its tag. */
  readonly tag: number;
  readonly #bytes: Buffer;
  /** Where its tag stands. */
  readonly #from: number;
  readonly #start: number;
  readonly #end: number;

  private constructor(bytes: Buffer, tag: number, from: number, start: number, end: number) {
    this.#bytes = bytes;
    this.tag = tag;
    this.#from = from;
    this.#start = start;
    this.#end = end;
  }

  /** The one value that the bytes consist of. */
  static read(bytes: Buffer): DerValue {
    const [value, more] = DerValue.#readAll(bytes, 0, bytes.length);
    if (value === undefined || more !== undefined) throw new MalformedDer();
    return value;
  }

  /** Number of bytes of the body. */
  get length(): number {
    return this.#end - this.#start;
  }

  /** This value, if it has the tag. */
  as(tag: number): DerValue {
    if (this.tag !== tag) throw new MalformedDer();
    return this;
  }

  /** A byte of the body. */
  at(index: number): number {
    if (index >= this.length) throw new MalformedDer();
    return this.#bytes[this.#start + index] ?? 0;
  }

  /** The values that the body consists of. Nothing may be left over: what one reader skips is where another finds something. */
  parts(): readonly DerValue[] {
    return DerValue.#readAll(this.#bytes, this.#start, this.#end);
  }

  /** The one value that the body consists of. */
  part(): DerValue {
    const [value, more] = this.parts();
    if (value === undefined || more !== undefined) throw new MalformedDer();
    return value;
  }

  /** `TRUE` is 0xff and nothing else (X.690 11.1). */
  isTrue(): boolean {
    const byte = this.as(derTag.boolean).at(0);
    if (this.length !== 1 || (byte !== 0xff && byte !== 0)) throw new MalformedDer();
    return byte === 0xff;
  }

  /** Object identifier, as the hex of its body. */
  oid(): string {
    return this.as(derTag.oid).hex();
  }

  /** The body as hex. */
  hex(): string {
    return this.#bytes.toString('hex', this.#start, this.#end);
  }

  /** The whole value with tag and length: what a signature is made over, and what names are compared by. */
  whole(): Buffer {
    return this.#bytes.subarray(this.#from, this.#end);
  }

  /** Body of a bit string that consists of whole bytes, as signatures do. */
  octetsOfBits(): Buffer {
    if (this.as(derTag.bits).at(0) !== 0) throw new MalformedDer();
    return this.#bytes.subarray(this.#start + 1, this.#end);
  }

  /** UTCTime or GeneralizedTime in the one form that RFC 5280 4.1.2.5 allows, milliseconds since the epoch. */
  time(): number {
    const isShort =
      this.as(this.tag === derTag.utcTime ? derTag.utcTime : derTag.generalizedTime).tag === derTag.utcTime;
    const digits = /^(?<year>\d{2}|\d{4})(?<rest>\d{10})Z$/.exec(this.latin1())?.groups;
    const { year = '', rest = '' } = digits ?? {};
    if (year.length !== (isShort ? 2 : 4)) throw new MalformedDer();
    const century = isShort ? (Number(year) < 50 ? '20' : '19') : '';
    const [month, day, hour, minute, second] = rest.match(/../g) ?? [];
    const time = Date.parse(`${century}${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
    if (Number.isNaN(time)) throw new MalformedDer();
    return time;
  }

  /** Text of one byte a character. */
  latin1(): string {
    return this.#bytes.toString('latin1', this.#start, this.#end);
  }

  static #readAll(bytes: Buffer, from: number, to: number): readonly DerValue[] {
    const values: DerValue[] = [];
    for (let offset = from; offset < to;) {
      const head = offset;
      const tag = bytes[offset] ?? 0;
      let length = bytes[offset + 1] ?? 0;
      let start = offset + 2;
      if (length >= 0x80) {
        const count = length & 0x7f;
        start += count;
        if (count === 0 || count > 3 || start > to) throw new MalformedDer();
        length = bytes.readUIntBE(offset + 2, count);
        // A longer form than needed is a second spelling of the same length.
        if (length < 0x80 || length < 2 ** (8 * (count - 1))) throw new MalformedDer();
      }
      offset = start + length;
      // Tags of more than one byte do not occur in certificates.
      if ((tag & 0x1f) === 0x1f || offset > to) throw new MalformedDer();
      values.push(new DerValue(bytes, tag, head, start, offset));
    }
    return values;
  }
}

/** A value that has to be there. */
export function required(value: DerValue | undefined, tag: number): DerValue {
  if (value === undefined) throw new MalformedDer();
  return value.as(tag);
}
