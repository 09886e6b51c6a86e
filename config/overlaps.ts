import type { MatchSettings } from './matches.ts';

/** Whether some call could be a call of both. */
export function overlap(a: MatchSettings, b: MatchSettings): boolean {
  return (
    hostsMeet(a.host, b.host) &&
    (a.port === undefined || b.port === undefined || a.port === b.port) &&
    listsMeet(a.methods, b.methods, (x, y) => x === y) &&
    listsMeet(a.paths, b.paths, pathsMeet)
  );
}

/** An absent list rules nothing, so it meets every other. */
function listsMeet(
  a: readonly string[] | undefined,
  b: readonly string[] | undefined,
  meet: (a: string, b: string) => boolean,
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

/** Whether two path patterns have a path in common; `**` stands for any number of segments. */
function pathsMeet(a: string, b: string): boolean {
  return patternsMeet(a.split('/'), b.split('/'), '**', segmentsMeet);
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
