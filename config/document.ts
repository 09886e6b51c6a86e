import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  type Document,
  type Pair,
  type YAMLError,
  type YAMLSeq,
} from 'yaml';
import type { Place, SettingPath } from './config-errors.ts';

/** A fault of the text that is found before any setting is looked at. */
export interface TextFault extends Place {
  readonly path: SettingPath;
  readonly message: string;
}

/** A YAML text as plain values, with the place of each. */
export interface SettingsDocument {
  /** Objects, lists, text, numbers, booleans and null; `undefined` where the text has no content. */
  readonly value: unknown;
  readonly faults: readonly TextFault[];
  /** Whether `value` holds what the text says; a text with wrong syntax is not looked at further. */
  readonly readable: boolean;
  /** Where a value stands. Where it is absent: where the nearest thing around it is named. */
  readonly locate: (path: SettingPath) => Place;
  /** Where the key of a value stands. */
  readonly locateKey: (path: SettingPath) => Place;
}

/** Deeper than any setting; a guard against texts that are made to exhaust the stack. */
const maxDepth = 32;

const tooDeep = 'is nested too deeply';

const keysAreText = 'every key must be text; put numbers and other values in quotes';

const starHint =
  'a leading "*" is a YAML alias, which is not supported here; text must be quoted, such as "*.example.org"';

/** Reads YAML 1.2 (core schema). Never throws. */
export function readDocument(text: string): SettingsDocument {
  const lines = new LineCounter();
  const parsed = parse(text, lines);
  const reader = new Reader(lines);
  if (typeof parsed === 'string') {
    reader.fault([], 0, parsed);
    return reader.finish(undefined, false);
  }
  for (const error of withoutFollowers([...parsed.errors, ...parsed.warnings], lines))
    reader.fault([], error.pos[0], describeSyntax(error));
  if (reader.faults.length > 0) return reader.finish(undefined, false);
  return reader.finish(parsed.contents === null ? undefined : reader.read(parsed.contents, []), true);
}

function parse(text: string, lineCounter: LineCounter): Document | string {
  try {
    // Double keys are found below, where both places are known.
    const options = { lineCounter, prettyErrors: false, uniqueKeys: false, logLevel: 'error', merge: false } as const;
    const parsed = parseDocument(text, options);
    // The library reports an exhausted stack as one error for each level that was open.
    return parsed.errors.some(({ message }) => message.startsWith('Maximum call stack')) ? tooDeep : parsed;
  } catch (error) {
    return error instanceof RangeError ? tooDeep : 'cannot be read as YAML';
  }
}

/** Walks the nodes once: plain values out, places remembered, faults collected. */
class Reader {
  readonly faults: TextFault[] = [];
  readonly #lines: LineCounter;
  readonly #places = new Map<string, { key?: number; value?: number }>();

  constructor(lines: LineCounter) {
    this.#lines = lines;
  }

  fault(path: SettingPath, offset: number, message: string): void {
    this.faults.push({ path, message, ...this.#place(offset) });
  }

  read(node: unknown, path: SettingPath): unknown {
    const start = startOf(node);
    if (start !== undefined) this.#mark(path).value = start;
    if (path.length > maxDepth) {
      this.fault(path, start ?? 0, tooDeep);
      return null;
    }
    if (isMap(node)) return this.#readMap(node.items, path);
    if (isSeq(node)) return this.#readList(node, path);
    if (isScalar(node)) return node.value;
    if (isAlias(node)) {
      this.fault(path, start ?? 0, starHint);
    }
    return null;
  }

  finish(value: unknown, readable: boolean): SettingsDocument {
    return {
      value,
      faults: this.faults,
      readable,
      locate: (path) => this.#find(path, (place) => place.value ?? place.key),
      locateKey: (path) => this.#find(path, (place) => place.key ?? place.value),
    };
  }

  #readMap(pairs: readonly Pair[], path: SettingPath): Record<string, unknown> {
    const read: Record<string, unknown> = {};
    for (const { key, value } of pairs) {
      const offset = startOf(key) ?? startOf(value) ?? 0;
      const name = isScalar(key) ? (typeof key.value === 'string' ? key.value : key.source) : undefined;
      if (name === undefined || (name === '' && startOf(key) === undefined)) {
        this.fault(path, offset, keysAreText);
        continue;
      }
      const own = [...path, name];
      // Under the name that it has in quotes, since what it holds is looked at all the same.
      if (isScalar(key) && typeof key.value !== 'string') this.fault(own, offset, keysAreText);
      // Assigning to it would change the object instead of adding a key.
      if (name === '__proto__') {
        this.fault(own, offset, 'this key is not allowed');
        continue;
      }
      const first = this.#places.get(JSON.stringify(own));
      if (first?.key !== undefined) {
        this.fault(own, offset, `is already set in line ${this.#place(first.key).line}; keys are used once`);
        continue;
      }
      this.#mark(own).key = offset;
      read[name] = this.read(value, own);
    }
    return read;
  }

  #readList(list: YAMLSeq, path: SettingPath): unknown[] {
    return list.items.map((item, index) => this.read(item, [...path, index]));
  }

  #mark(path: SettingPath): { key?: number; value?: number } {
    const id = JSON.stringify(path);
    const place = this.#places.get(id) ?? {};
    this.#places.set(id, place);
    return place;
  }

  #find(path: SettingPath, choose: (place: { key?: number; value?: number }) => number | undefined): Place {
    const exact = this.#places.get(JSON.stringify(path));
    const found = exact === undefined ? undefined : choose(exact);
    if (found !== undefined) return this.#place(found);
    // What is absent is reported at the name of what should hold it.
    for (let length = path.length - 1; length > 0; length--) {
      const around = this.#places.get(JSON.stringify(path.slice(0, length)));
      const offset = around?.key ?? around?.value;
      if (offset !== undefined) return this.#place(offset);
    }
    return { line: 1, column: 1 };
  }

  #place(offset: number): Place {
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  }
}

/** In place of words of the parser that quote the text. */
const ownWords: ReadonlyMap<string, string> = new Map([
  ['BAD_DIRECTIVE', 'this directive (a line that begins with "%") is not known'],
  ['TAG_RESOLVE_FAILED', 'this tag (a word that begins with "!") is not known'],
  ['BAD_COLLECTION_TYPE', 'this tag (a word that begins with "!") does not fit what follows'],
  ['BAD_DQ_ESCAPE', 'this is no escape sequence; in single quotes a backslash is one'],
  ['UNEXPECTED_TOKEN', 'this does not belong here; text that holds { } [ ] , or a quote must be in quotes'],
  ['BLOCK_IN_FLOW', 'a `: ` too many, or a comma too few; text that holds `: ` must be in quotes'],
  ['BLOCK_AS_IMPLICIT_KEY', 'a second `: `, or a key too far in; text that holds `: ` must be in quotes'],
  ['MULTILINE_IMPLICIT_KEY', 'a key stands on one line, with `: ` behind it'],
]);

/**
 * After a mistake the parser tells of all that it does not understand any more: the rest of the line, and once the outermost value
 * ended too early, each word to the end of the file. A page of these would hide the mistake, and none of them is another.
 */
function withoutFollowers(errors: readonly YAMLError[], lines: LineCounter): readonly YAMLError[] {
  const kept: YAMLError[] = [];
  let brokenLine = 0;
  for (const error of errors) {
    const isUnexpected = error.code === 'UNEXPECTED_TOKEN';
    const { line } = lines.linePos(error.pos[0]);
    const isFollower = line === brokenLine || (isUnexpected && error.message.includes(' token in YAML stream'));
    if (isFollower && kept.length > 0) continue;
    if (isUnexpected) brokenLine = line;
    kept.push(error);
  }
  return kept;
}

/** The parser's own words, without what it quotes of the text, most often after a colon: that may be a secret in the wrong place. */
function describeSyntax(error: YAMLError): string {
  if (error.code === 'BAD_ALIAS') return starHint;
  if (error.code === 'MULTIPLE_DOCS') return 'a second document (`---`) begins here; the file holds one';
  return `not valid YAML: ${ownWords.get(error.code) ?? error.message.replace(/: [\s\S]*$/, '')}`;
}

/** Offset of a node; undefined for one that is not written (`key:` without a value). */
function startOf(node: unknown): number | undefined {
  if (isScalar(node) && (node.source === '' || node.source === undefined) && node.value === null) return undefined;
  if (isScalar(node) || isMap(node) || isSeq(node) || isAlias(node)) return node.range?.[0];
  return undefined;
}
