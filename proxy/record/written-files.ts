/** A file, whatever its name is by now. */
export interface FilePlace {
  readonly dev: bigint;
  readonly ino: bigint;
}

/** One of the files that this process wrote its record to. */
export interface WrittenFile extends FilePlace {
  /** Number of the newest line when it was begun: the next one stands here, or in one of those that follow. */
  readonly behind: number;
  /** The one that the record went on in. */
  readonly next: WrittenFile | undefined;
}

/** Far more than anybody keeps; who wants lines of one before these is told that they are not here. */
const maxFiles = 1024;

/** The files of a record that is rotated, in the order they were written. What they are called, or whether they are there, is not known here. */
export class WrittenFiles {
  #first: WrittenFile;
  #last: WrittenFile & { next: WrittenFile | undefined };
  #count = 1;

  constructor({ dev, ino }: FilePlace) {
    this.#last = { dev, ino, behind: 0, next: undefined };
    this.#first = this.#last;
  }

  /** The record goes on in another file. @param sequence number of the newest line. */
  add({ dev, ino }: FilePlace, sequence: number): void {
    const last = { dev, ino, behind: sequence, next: undefined };
    this.#last.next = last;
    this.#last = last;
    this.#count += 1;
    if (this.#count > maxFiles && this.#first.next !== undefined) this.#first = this.#first.next;
  }

  /** The file in which the line behind `sequence` stands, or will stand; the oldest that is known where it stood in an earlier one. */
  find(sequence: number): WrittenFile {
    let found = this.#first;
    while (found.next !== undefined && found.next.behind <= sequence) found = found.next;
    return found;
  }
}
