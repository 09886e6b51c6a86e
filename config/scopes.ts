import { z } from 'zod';

/** One scope (RFC 6749 3.3). */
export const scope = z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/, {
  error:
    'must be one scope: printable ASCII without spaces, quotes and backslashes (RFC 6749, 3.3); list several as [a, b]',
});
