import { z } from 'zod';
import { risk } from './risks.ts';
import { resourceUri } from './urls.ts';

/** What a link to this tool permits those behind it to do further on. */
export const delegate = z
  .strictObject({
    resources: z
      .array(resourceUri)
      .min(1)
      .max(32)
      .readonly()
      .optional()
      .meta({
        description: 'Resources that may be called in this task from here on, that of the tool among them.',
        examples: [['https://worker.example.org', 'https://crm.example.org']],
        'x-default': 'that of the tool: `token.resource`, or its origin',
      }),
    risk: risk.optional().meta({
      description: 'Highest risk of what may be called from here on; not above that of the tool.',
      examples: ['read'],
      'x-default': '`risk` of the tool',
    }),
    hops: z
      .int()
      .min(0)
      .max(5)
      .prefault(0)
      .meta({
        description: 'How many further hops may follow behind the tool.',
        examples: [1],
      }),
  })
  .readonly();
