import { inLowerCase, sizeOf, type Place, type Text } from './agreement.ts';
import { PlaceIndex } from './place-index.ts';
import { windowBytes } from './window.ts';

/** A tool that echoes a token is looked through its texts; an index, dearer to make than so many looks, is for answers made of parts. */
const looksWithoutIndex = 64;
/** Bytes that the texts and indexes of all secrets may take; beyond, those are given back that were made first. */
const maxKeptBytes = 33_554_432;

/** What the places of one secret are found by. */
export interface PlacesOptions {
  /** Writes out all forms of the secret. */
  readonly texts: () => readonly Text[];
  /** Bytes of the shortest run that counts. */
  readonly shortestRun: number;
  /** Whether the window of a text there can be met. */
  readonly isKnown: (text: Buffer, at: number) => boolean;
}

/** Where the windows of a secret stand in its forms. Written out when that is asked for the first time: most answers hold no secret. */
export class Places {
  readonly #options: PlacesOptions;
  #texts: readonly Text[] | undefined;
  #index: PlaceIndex | undefined;
  #looks = 0;

  constructor(options: PlacesOptions) {
    this.#options = options;
  }

  /** Where a run may stand in which forms that holds the window at `at`; undefined where too many would have to be compared. */
  around(bytes: Buffer, at: number): readonly Place[] | undefined {
    if (this.#index === undefined && this.#looks < looksWithoutIndex) {
      this.#looks += 1;
      return placesIn((this.#texts ??= this.#writtenOut()), bytes.subarray(at, at + windowBytes));
    }
    this.#index ??= this.#indexed();
    return this.#index.isPartial ? undefined : this.#index.around(bytes, at);
  }

  /** Gives its memory back. */
  forget(): void {
    this.#texts = undefined;
    this.#index = undefined;
    this.#looks = 0;
  }

  #writtenOut(): readonly Text[] {
    // Without signs that a form changes, many forms are alike.
    const distinct = new Map(
      this.#options.texts().map((text) => [`${text.inAnyCase}${text.bytes.toString('latin1')}`, text]),
    );
    const texts = [...distinct.values()];
    keep(this, sizeOf(texts));
    return texts;
  }

  #indexed(): PlaceIndex {
    const { shortestRun, isKnown } = this.#options;
    const index = new PlaceIndex(this.#texts ?? this.#writtenOut(), shortestRun, isKnown);
    keep(this, index.size);
    return index;
  }
}

/** Oldest first; no secret is kept alive by it. */
const kept: { readonly places: WeakRef<Places>; readonly bytes: number }[] = [];
let keptBytes = 0;

function keep(places: Places, bytes: number): void {
  keptBytes += bytes;
  while (keptBytes > maxKeptBytes && kept.length > 0) {
    const oldest = kept.shift();
    keptBytes -= oldest?.bytes ?? 0;
    oldest?.places.deref()?.forget();
  }
  kept.push({ places: new WeakRef(places), bytes });
}

/** Where in which texts these bytes stand, by looking through them; none where it was a chance after all. */
function placesIn(texts: readonly Text[], window: Buffer): readonly Place[] {
  const folded = Buffer.from(window.map(inLowerCase));
  const found: Place[] = [];
  for (const text of texts) {
    const wanted = text.inAnyCase ? folded : window;
    for (let at = text.bytes.indexOf(wanted); at >= 0; at = text.bytes.indexOf(wanted, at + 1))
      found.push({ text, at });
  }
  return found;
}
