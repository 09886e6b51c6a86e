/** Places for names; a program of the field sends some ten different ones. */
const places = 512;

interface Known<Meaning> {
  /** As it was sent, case and all. */
  readonly name: string;
  readonly meaning: Meaning;
}

/**
 * What header names mean, kept for the names that were met last. The senders choose them, so the memory is bounded: each name has one
 * place, and takes it over. A `Map` would enter every new string into the engine's table of all strings first, which costs ten times
 * the comparison.
 */
export class NameMemo<Meaning> {
  readonly #meaningOf: (name: string) => Meaning;
  readonly #known: (Known<Meaning> | undefined)[] = Array.from({ length: places });

  /** @param meaningOf Depends on the name alone. */
  constructor(meaningOf: (name: string) => Meaning) {
    this.#meaningOf = meaningOf;
  }

  of(name: string): Meaning {
    const end = name.length - 1;
    const place = placeOf(end, name.charCodeAt(0), name.charCodeAt(end >> 1), name.charCodeAt(end));
    const known = this.#known[place];
    return known !== undefined && known.name === name ? known.meaning : this.#learn(place, name).meaning;
  }

  /** The same for a name in latin1, with the text of it: what is known is not decoded again. */
  ofBytes(bytes: Buffer): Known<Meaning> {
    const end = bytes.length - 1;
    const place = placeOf(end, bytes[0] ?? 0, bytes[end >> 1] ?? 0, bytes[end] ?? 0);
    const known = this.#known[place];
    if (known !== undefined && isSame(known.name, bytes)) return known;
    return this.#learn(place, bytes.toString('latin1'));
  }

  #learn(place: number, name: string): Known<Meaning> {
    const known = { name, meaning: this.#meaningOf(name) };
    this.#known[place] = known;
    return known;
  }
}

/** NaN, of an empty name, becomes 0 in it. */
function placeOf(end: number, first: number, middle: number, last: number): number {
  return (end * 37 + first * 11 + middle * 5 + last) & (places - 1);
}

function isSame(name: string, bytes: Buffer): boolean {
  if (name.length !== bytes.length) return false;
  for (let at = 0; at < bytes.length; at += 1) if (name.charCodeAt(at) !== bytes[at]) return false;
  return true;
}
