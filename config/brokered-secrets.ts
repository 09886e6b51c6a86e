import { z } from 'zod';
import { path } from './text.ts';

/** Headers that frame or route a message, or that we write ourselves. */
const reserved =
  /^(?:host|connection|content-length|content-type|transfer-encoding|te|trailer|upgrade|expect|cookie2?|proxy-.*|waybill-.*)$/;

/** The name of a header that carries a credential, in lower case. */
export const credentialHeader = z
  .string()
  .regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$/, {
    error: 'must be the name of a header, such as x-crm-key',
    abort: true,
  })
  .refine((name) => !reserved.test(name.toLowerCase()), {
    error: 'this header has a meaning of its own; take another one',
  })
  .transform((name) => name.toLowerCase());

/** A static key that the sidecar holds for a tool which knows nothing better; where it goes, and from which file it comes. */
export const brokeredSecret = z
  .strictObject({
    file: path.optional().meta({
      description: 'File that holds the secret; with `in: basic` as `user:password`. This or `dir` is needed.',
      examples: ['/run/secrets/tickets-key'],
    }),
    dir: path.optional().meta({
      description:
        'Folder of secrets, such as a mounted Kubernetes secret: the file named like the tool, or `username` and `password` with `in: basic`.',
      examples: ['/run/secrets/tools'],
    }),
    in: z.enum(['header', 'basic', 'query']).meta({
      description:
        'Where it goes: a `header`, HTTP `basic` authentication, or a parameter of the `query`, which logs of tools show.',
      examples: ['header'],
    }),
    name: z
      .string()
      .min(1)
      .max(64)
      .regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/, { error: 'must be the name of a header or of a query parameter' })
      .optional()
      .meta({
        description: 'Name of the header or of the query parameter.',
        examples: ['x-tickets-key'],
        'x-default': '`Authorization`; with `in: query` it is needed',
      }),
    prefix: z
      .string()
      .max(64)
      .regex(/^[\x20-\x7e]*$/, { error: 'must be printable ASCII' })
      .optional()
      .meta({
        description: 'Text before the secret in its header.',
        examples: ['Token '],
        'x-default': '`"Bearer "` in `Authorization`, else none',
      }),
  })
  .readonly();
