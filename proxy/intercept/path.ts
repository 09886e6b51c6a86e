import { Refusal } from '../refusal.ts';

/**
 * The path as our rules read it: percent-decoded once, without query. A tool decodes before it routes, so rules that looked at the raw
 * text could be passed with `/%61dmin`. The forwarded text stays the agent's, byte for byte (W13).
 * Refuses `path_ambiguous` where a tool could still read another path (W2): dot segments, doubled slashes, `;`, backslashes, encoded
 * separators, dots and NUL, double encoding, bad escapes.
 */
export function readRuledPath(target: string): string {
  const path = withoutQuery(target);
  if (isPlain(path)) return path;
  if (/[\\;]|\/\/|\/\.{1,2}(?:\/|$)/.test(path)) throw ambiguous();
  if (/%(?:2e|2f|5c|3b|3f|23|00)/i.test(path)) throw ambiguous();
  const decoded = decode(path);
  // An escape that decoding brought out (`%252e`, `%25%32e`) is one for a tool that decodes twice.
  if (decoded === undefined || /%(?:[0-9a-f]{2}|$)/i.test(decoded)) throw ambiguous();
  return decoded;
}

/** The path as rules read it at tools that opted out of the check (`unsafe_raw_paths`) or where no path is ruled: never refuses. */
export function readLoosePath(target: string): string {
  const path = withoutQuery(target);
  return isPlain(path) ? path : (decode(path) ?? path);
}

/** The part of a target that is recorded and ruled: queries carry data, and often secrets. */
export function withoutQuery(target: string): string {
  const end = target.indexOf('?');
  return end === -1 ? target : target.slice(0, end);
}

/** Nothing to decode and nothing to refuse: the usual path, found without allocating. No segment is empty or begins with a dot. */
function isPlain(path: string): boolean {
  return /^\/(?:[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9_~!$&'()*+,=:@.-]*(?:\/[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9_~!$&'()*+,=:@.-]*)*\/?)?$/.test(
    path,
  );
}

function decode(path: string): string | undefined {
  try {
    return decodeURIComponent(path);
  } catch {
    return undefined;
  }
}

function ambiguous(): Refusal {
  return new Refusal('path_ambiguous');
}
