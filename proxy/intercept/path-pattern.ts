/**
 * A path pattern of `match.paths`: `*` stands for anything within one segment, a `**` segment for any number of segments.
 * Matching is iterative with one step back per star, so that an agent's path cannot make it exponential.
 */
export interface PathPattern {
  readonly text: string;
  matches(path: string): boolean;
}

export function compilePathPattern(text: string): PathPattern {
  // Usual patterns need no list: a path, or everything below one.
  if (!text.includes('*')) return { text, matches: (path) => path === text };
  const base = text.endsWith('/**') ? text.slice(0, -3) : undefined;
  if (base !== undefined && !base.includes('*')) {
    return {
      text,
      matches: (path) => path.startsWith(base) && (path.length === base.length || path[base.length] === '/'),
    };
  }
  const segments = text.split('/');
  return { text, matches: (path) => matchSegments(segments, path.split('/')) };
}

function matchSegments(pattern: readonly string[], path: readonly string[]): boolean {
  return matchList(pattern, path, '**', matchSegment);
}

function matchSegment(pattern: string, segment: string): boolean {
  if (pattern === '*') return segment !== '';
  if (!pattern.includes('*')) return pattern === segment;
  return matchList(pattern.split(''), segment.split(''), '*', (a, b) => a === b);
}

/** Wildcard matching over lists: remembers only the last star, which is enough and keeps the cost at most |pattern| x |list|. */
function matchList(
  pattern: readonly string[],
  list: readonly string[],
  star: string,
  equal: (pattern: string, item: string) => boolean,
): boolean {
  let p = 0;
  let at = 0;
  let starAt = -1;
  let resumeAt = 0;
  while (at < list.length) {
    if (p < pattern.length && pattern[p] === star) {
      starAt = p++;
      resumeAt = at;
    } else if (p < pattern.length && equal(pattern[p] ?? '', list[at] ?? '')) {
      p++;
      at++;
    } else if (starAt >= 0) {
      p = starAt + 1;
      at = ++resumeAt;
    } else return false;
  }
  while (p < pattern.length && pattern[p] === star) p++;
  return p === pattern.length;
}
