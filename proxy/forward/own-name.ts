/** What the program behind the way in calls itself, where it is called by its own name, and what its callers call it. */
export interface OwnName {
  /** `host:port`, as in its `Host`. */
  readonly program: string;
  /** `scheme://host`, as in `inbound.origin`. */
  readonly origin: string;
}

/**
 * Leads callers back to the origin where a program sends them on to its own name (`Location`, `Content-Location`): on their machine that
 * is a port of somebody else, who would get their token.
 * @param forward names and values in turn; changed in place.
 */
export function renameLocations(forward: string[], { program, origin }: OwnName): void {
  for (let at = 0; at < forward.length; at += 2) {
    if (!/^(?:content-)?location$/i.test(forward[at] ?? '')) continue;
    const value = forward[at + 1] ?? '';
    const scheme = /^(?:https?:)?\/\//i.exec(value)?.[0];
    if (scheme === undefined) continue;
    const end = scheme.length + program.length;
    const isOwn = value.slice(scheme.length, end).toLowerCase() === program.toLowerCase();
    // Behind anything else it is another port or host, or a user's name.
    if (isOwn && /^(?:[/?#]|$)/.test(value.slice(end))) forward[at + 1] = origin + value.slice(end);
  }
}
