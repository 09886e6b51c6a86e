import { z } from 'zod';

/** Which callers an entry of `inbound.callers` lets in. */
export interface CallerPattern {
  /** A SPIFFE ID, or the trust domain or path that stands before `/**`: `spiffe://example.org/planner`. */
  readonly id: string;
  /** Set for `/**`: IDs below `id` by whole segments are let in too. */
  readonly below: boolean;
}

const everyBelow = '/**';

/** Says what is wrong with a caller; undefined when it is the ID of a workload, or one with a final `/**` (SPIFFE-ID, 2). */
function findCallerFault(text: string): string | undefined {
  if (!text.startsWith('spiffe://')) return 'must be a SPIFFE ID, such as spiffe://example.org/planner';
  const below = text.endsWith(everyBelow);
  const [domain = '', ...segments] = (below ? text.slice(0, -everyBelow.length) : text)
    .slice('spiffe://'.length)
    .split('/');
  // A star within a segment would let in whoever can choose the rest of a name: `planner*` is also `planner-of-mallory`.
  if (domain.includes('*') || segments.some((segment) => segment.includes('*'))) {
    return 'may have stars only as a last segment `/**`, such as spiffe://example.org/planner/**';
  }
  if (!/^[a-z0-9._-]{1,255}$/.test(domain)) {
    return 'must name a trust domain of lower-case letters, digits, ".", "_" and "-", such as spiffe://example.org/planner';
  }
  if (segments.length === 0 && !below) {
    return 'must be the ID of a workload, with a path; every workload of a trust domain is spiffe://example.org/**';
  }
  if (segments.some((segment) => !/^[A-Za-z0-9._-]+$/.test(segment) || segment === '.' || segment === '..')) {
    return 'must have a path of letters, digits, ".", "_" and "-", without empty and dot segments and final slash';
  }
  return undefined;
}

/** One workload, or all at and below a path. */
export const caller = z
  .string()
  .max(2048)
  .check((context) => {
    const fault = findCallerFault(context.value);
    if (fault !== undefined) context.issues.push({ code: 'custom', message: fault, input: context.value });
  })
  .transform((text): CallerPattern => {
    const below = text.endsWith(everyBelow);
    return Object.freeze({ id: below ? text.slice(0, -everyBelow.length) : text, below });
  });
