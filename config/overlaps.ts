import type { MatchSettings } from './matches.ts';

/** How many pairs of patterns are compared letter by letter; a second or two. */
const maxCompared = 100_000;

/** What is compared, with the paths taken apart. */
interface Compared<Tool> {
  readonly tool: Tool;
  readonly match: MatchSettings;
  readonly paths: readonly PathEnds[] | undefined;
}

/**
 * Pairs of tools of which some call could be a call of both, in their order. There are as many pairs as the square of the tools: most
 * are told apart by how their patterns begin and end.
 * @returns whether all were compared.
 */
export function* findOverlapping<Tool extends { readonly match: MatchSettings }>(
  tools: readonly Tool[],
): Generator<readonly [Tool, Tool], boolean> {
  const all = tools.map((tool): Compared<Tool> => ({ tool, match: tool.match, paths: tool.match.paths?.map(endsOf) }));
  let compared = 0;
  const pathsMeet = (a: PathEnds, b: PathEnds): boolean => {
    if (!endsMeet(a, b) || compared >= maxCompared) return false;
    compared += 1;
    return patternsMeet(a.segments, b.segments, '**', segmentsMeet);
  };
  for (const [index, a] of all.entries()) {
    for (let at = index + 1; at < all.length; at += 1) {
      const b = all[at];
      if (b !== undefined && overlap(a, b, pathsMeet)) yield [a.tool, b.tool];
      if (compared >= maxCompared) return false;
    }
  }
  return true;
}

function overlap(
  { match: a, paths }: Compared<unknown>,
  { match: b, paths: others }: Compared<unknown>,
  pathsMeet: (a: PathEnds, b: PathEnds) => boolean,
): boolean {
  return (
    hostsMeet(a.host, b.host) &&
    (a.port === undefined || b.port === undefined || a.port === b.port) &&
    listsMeet(a.methods, b.methods, (x, y) => x === y) &&
    listsMeet(paths, others, pathsMeet)
  );
}

/** A path pattern, and the text that each of its paths begins and ends with. */
interface PathEnds {
  readonly segments: readonly string[];
  readonly start: string;
  readonly end: string;
}

/** A `**` may stand for nothing, and then the slash beside it is none either: `/api/**` takes `/api`. */
function endsOf(pattern: string): PathEnds {
  const [first, last] = [pattern.indexOf('*'), pattern.lastIndexOf('*')];
  const start = first < 0 ? pattern : pattern.slice(0, first);
  const end = pattern.slice(last + 1);
  return {
    segments: pattern.split('/'),
    start: pattern.startsWith('**', first) ? start.replace(/\/$/, '') : start,
    end: pattern[last - 1] === '*' ? end.replace(/^\//, '') : end,
  };
}

function endsMeet(a: PathEnds, b: PathEnds): boolean {
  return (
    (a.start.startsWith(b.start) || b.start.startsWith(a.start)) && (a.end.endsWith(b.end) || b.end.endsWith(a.end))
  );
}

/** An absent list rules nothing, so it meets every other. */
function listsMeet<Item>(
  a: readonly Item[] | undefined,
  b: readonly Item[] | undefined,
  meet: (a: Item, b: Item) => boolean,
): boolean {
  return a === undefined || b === undefined || a.some((x) => b.some((y) => meet(x, y)));
}

/** `*.example.org` stands for the names below example.org, and not for itself. */
function hostsMeet(a: string, b: string): boolean {
  if (a === b || a === '*' || b === '*') return true;
  if (a.startsWith('*.') && b.startsWith('*.')) return a.endsWith(b.slice(1)) || b.endsWith(a.slice(1));
  if (a.startsWith('*.')) return b.endsWith(a.slice(1));
  return b.startsWith('*.') && a.endsWith(b.slice(1));
}

/** Within one segment, letter by letter. */
function segmentsMeet(a: string, b: string): boolean {
  // A star of its own stands for a segment that is not empty.
  if ((a === '*' && b === '') || (a === '' && b === '*')) return false;
  return patternsMeet(Array.from(a), Array.from(b), '*', (x, y) => x === y);
}

/**
 * Whether some list fits two patterns. From the ends to the front, so that long patterns stay cheap: `row[j]` says whether some list
 * fits both the rest of `a` from i and the rest of `b` from j.
 */
function patternsMeet(
  a: readonly string[],
  b: readonly string[],
  star: string,
  meet: (a: string, b: string) => boolean,
): boolean {
  let after: readonly boolean[] = [];
  for (let i = a.length; i >= 0; i--) {
    const row = Array.from({ length: b.length + 1 }, () => false);
    for (let j = b.length; j >= 0; j--) {
      const [x, y] = [a[i], b[j]];
      // A star takes nothing, or one more of what the other side has.
      if (x === star || y === star) row[j] = after[j] === true || row[j + 1] === true;
      else if (x === undefined || y === undefined) row[j] = x === y;
      else row[j] = after[j + 1] === true && meet(x, y);
    }
    after = row;
  }
  return after[0] === true;
}
