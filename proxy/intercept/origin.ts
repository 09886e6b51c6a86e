import { formatAuthority } from './authority.ts';

/** Scheme, host and port in normal form: the only place that a credential of this call may go to (W2). One object for each. */
export interface Origin {
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly port: number;
  /** `Host` as the tool gets it: without the scheme's default port, IPv6 in brackets. */
  readonly authority: string;
  /** `scheme://authority`. */
  readonly text: string;
}

const known = new Map<string, Origin>();

/** The one object of an origin: what rooms prepare for an origin hangs on it, and nothing is built per call. */
export function originOf(scheme: 'http' | 'https', host: string, port: number): Origin {
  const key = `${scheme} ${port} ${host}`;
  const found = known.get(key);
  if (found !== undefined) return found;
  const authority = formatAuthority(host, port, scheme);
  const origin = Object.freeze({ scheme, host, port, authority, text: `${scheme}://${authority}` });
  // The names are the agent's choice: a bounded memory, started anew when full.
  if (known.size >= 4096) known.clear();
  known.set(key, origin);
  return origin;
}
