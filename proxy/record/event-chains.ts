import { hash } from 'node:crypto';
import { BootOrder } from './boot-order.ts';
import { Seals, type Seal, type Trust } from './seals.ts';
import { bootOf, couldBegin, genesis, parseEventLine, type EventLine } from './event-line.ts';

/** A line of a file, counted from 1. */
export interface LinePlace {
  readonly file: string;
  readonly line: number;
}

/** Something that a sidecar never writes: the record was touched, or a part of it is not there. */
export interface ChainFault extends LinePlace {
  /** `changed`: this line, or the `prev` of the next, is not what was written. */
  readonly reason:
    | 'unreadable'
    | 'changed'
    | 'missing'
    | 'order'
    | 'start'
    | 'end'
    | 'signature'
    | 'unsigned'
    | 'behind';
  readonly message: string;
}

/** The rest of a line that was being written when the process or its disk gave out. */
export type TornLine = LinePlace;

/** The chain of one boot. */
export interface BootReport {
  readonly boot: string;
  readonly lines: number;
  readonly lastSequence: number;
  /** SHA-256 of its last line: with the sequence, a witness against truncation if it is kept elsewhere. */
  readonly head: string;
  /** How far it is signed. */
  readonly seal: Seal;
}

export interface ChainReport {
  readonly lines: number;
  readonly boots: readonly BootReport[];
  /** The first of them; `faultCount` counts all. */
  readonly faults: readonly ChainFault[];
  readonly faultCount: number;
  readonly torn: readonly TornLine[];
  /** Calls that were admitted and have no end: whether they reached the tool is not known. */
  readonly outcomeUnknown: number;
}

/** What is known from elsewhere. */
export interface Known extends Trust {
  /** Of the newest boot: the gauge `waybill_event_sequence`. */
  readonly sequence: number | undefined;
  /** Named where there is no line to name. */
  readonly place: LinePlace;
}

/** Where a boot's chain stands after the lines so far. */
interface Boot {
  readonly name: string;
  lines: number;
  sequence: number;
  digest: string;
  lastPlace: LinePlace;
  readonly openCalls: Set<string>;
  readonly seals: Seals;
}

/** Enough to see what happened; a record of gigabytes that was rewritten must not fill the memory. */
const keptFaults = 100;

/**
 * Follows the chains of all boots in a record, line by line. A chain is whole if its lines are numbered from 1 without a gap and each
 * carries the hash of the one before, and each checkpoint is about the line before it and signed; and the record is, if each boot stands
 * behind the line that it names. What it cannot find by itself: lines cut off at the end of the last boot, against which the sequence in the metrics is a witness; and a chain that somebody made anew as a
 * whole with a key of his own, against which the bundle of the trust domain is.
 */
export class EventChains {
  readonly #boots = new Map<string, Boot>();
  readonly #order = new BootOrder();
  readonly #faults: ChainFault[] = [];
  readonly #torn: TornLine[] = [];
  #faultCount = 0;
  #lines = 0;
  #latest: Boot | undefined;
  /** A line that cannot be read: what comes next says whether it is the fragment of a write that broke off. */
  #fragment: { readonly place: LinePlace; readonly text: string } | undefined;

  readonly #known: Known;

  constructor(known: Known) {
    this.#known = known;
  }

  /** Takes the next line, without its line feed. */
  take(place: LinePlace, bytes: Buffer, isTerminated: boolean): void {
    this.#lines += 1;
    const text = bytes.toString('utf8');
    const line = parseEventLine(text);
    const digest = hash('sha256', bytes, 'hex');
    const misplaced = isTerminated ? this.#order.take(line, digest) : undefined;
    if (line === undefined) {
      this.#settleFragment(undefined);
      this.#fragment = { place, text };
      // The end of a file may be the end of a process; only a line that was not finished is excused by that.
      if (!isTerminated) this.#settleFragment('end');
      return;
    }
    this.#settleFragment(line);
    if (misplaced !== undefined) this.#fault(place, misplaced.reason, misplaced.message);
    const known = this.#boots.get(line.boot);
    /** A boot that was not seen before: it begins with number 1, nothing before it, and its boot event. */
    const boot = known ?? this.#begin(place, line);
    if (known !== undefined) this.#compare(known, place, line);
    boot.lines += 1;
    boot.sequence = line.seq;
    boot.digest = digest;
    boot.lastPlace = place;
    this.#latest = boot;
    if (boot.seals.hasEnded)
      this.#fault(place, 'end', `boot ${boot.name} had ended and signed its end: this line was put there afterwards`);
    const wrong = boot.seals.take(line);
    if (wrong !== undefined) this.#fault(place, 'signature', wrong);
    if (line.call === undefined) return;
    if (line.event === 'call.admitted') boot.openCalls.add(line.call);
    else if (line.event === 'call.ended') boot.openCalls.delete(line.call);
  }

  finish(): ChainReport {
    this.#settleFragment(undefined);
    const boots = [...this.#boots.values()];
    const reports = boots.map((boot) => this.#report(boot));
    this.#compareWitness(boots.at(-1));
    // A sidecar writes its boot event before anything else.
    if (this.#lines === 0 && this.#faultCount === 0)
      this.#fault(this.#known.place, 'start', 'there is no line to check');
    return {
      lines: this.#lines,
      boots: reports,
      faults: this.#faults,
      faultCount: this.#faultCount,
      torn: this.#torn,
      outcomeUnknown: boots.reduce((sum, boot) => sum + boot.openCalls.size, 0),
    };
  }

  #report(boot: Boot): BootReport {
    const seal = boot.seals.finish();
    if (seal.fault !== undefined) this.#fault(boot.lastPlace, 'unsigned', `boot ${boot.name}: ${seal.fault}`);
    return { boot: boot.name, lines: boot.lines, lastSequence: boot.sequence, head: boot.digest, seal };
  }

  /** The gauge is that of the process that runs, or ran last. It may be older than the record, never newer. */
  #compareWitness(latest: Boot | undefined): void {
    const { sequence, place } = this.#known;
    if (sequence === undefined) return;
    const missing = sequence - (latest?.sequence ?? 0);
    if (missing <= 0) return;
    const message = `the gauge is ahead of the record: ${sequence} against ${latest?.sequence ?? 0}, ${missing} lines are missing at the end`;
    this.#fault(latest?.lastPlace ?? place, 'behind', message);
  }

  #begin(place: LinePlace, line: EventLine): Boot {
    if (line.seq !== 1 || line.prev !== genesis) {
      const where = `boot ${line.boot} begins here with sequence ${line.seq}`;
      this.#fault(place, 'start', `${where}: what came before is in an earlier file, or was removed`);
    } else if (line.event !== 'boot') {
      // Without this, a chain made anew from some line on would pass as a boot of its own.
      this.#fault(place, 'start', `boot ${line.boot} does not begin with its boot event`);
    }
    const boot: Boot = {
      name: line.boot,
      lines: 0,
      sequence: 0,
      digest: genesis,
      lastPlace: place,
      openCalls: new Set(),
      seals: new Seals(line, this.#known),
    };
    this.#boots.set(line.boot, boot);
    return boot;
  }

  /** The chain goes on from this line whatever was wrong with it, so that one change is one fault and not all that follow. */
  #compare(boot: Boot, place: LinePlace, line: EventLine): void {
    const expected = boot.sequence + 1;
    if (line.seq > expected) {
      const count = line.seq - expected;
      const what = count === 1 ? '1 line is' : `${count} lines are`;
      this.#fault(place, 'missing', `${what} missing before this one: ${line.seq} follows ${boot.sequence}`);
    } else if (line.seq < expected) {
      const message = `sequence ${line.seq} after ${boot.sequence}: lines were moved or repeated, or the chain was begun anew here`;
      this.#fault(place, 'order', message);
    } else if (line.prev !== boot.digest) {
      const message = `changed: line ${place.line} carries another hash of it (or that hash was changed)`;
      this.#fault(boot.lastPlace, 'changed', message);
    }
  }

  /** Decides what the unreadable line was, now that the next is known: `end` is the end of a file without a line feed. */
  #settleFragment(next: EventLine | 'end' | undefined): void {
    const fragment = this.#fragment;
    if (fragment === undefined) return;
    this.#fragment = undefined;
    const follows = next === 'end' || (next !== undefined && this.#isWhereWritingWentOn(next));
    if (follows && this.#couldBeNext(fragment.text)) this.#torn.push(fragment.place);
    else this.#fault(fragment.place, 'unreadable', fragment.text === '' ? 'an empty line' : 'not an event');
  }

  /** A new boot, or, after a full disk or pipe, the same one with the very line that broke off: nothing is lost then. */
  #isWhereWritingWentOn(line: EventLine): boolean {
    const boot = this.#boots.get(line.boot);
    if (boot === undefined) return line.seq === 1;
    return line.seq === boot.sequence + 1 && line.prev === boot.digest;
  }

  /** A fragment is the beginning of the line that would have come next, as far as it goes; anything else was put there. */
  #couldBeNext(text: string): boolean {
    if (text === '') return false;
    // Where two sidecars write to one file, the line before may be that of the other.
    const latest = this.#boots.get(bootOf(text)) ?? this.#latest;
    return (
      (latest !== undefined && couldBegin(text, latest.sequence + 1, latest.name, latest.digest)) ||
      couldBegin(text, 1, undefined, genesis)
    );
  }

  #fault(place: LinePlace, reason: ChainFault['reason'], message: string): void {
    this.#faultCount += 1;
    if (this.#faults.length < keptFaults) this.#faults.push({ ...place, reason, message });
  }
}
