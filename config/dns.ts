import { z } from 'zod';
import { dnsServer } from './addresses.ts';

/** Which servers resolve the names of tools. */
export const dnsTable = z
  .strictObject({
    servers: z
      .array(dnsServer)
      .max(8)
      .readonly()
      .prefault([])
      .meta({
        description: 'DNS servers that are asked for the names of tools; none means the resolver of the system.',
        examples: [['127.0.0.1:5353']],
      }),
  })
  .readonly()
  .prefault({})
  .meta({ title: 'dns', description: 'Which servers resolve the names of tools.' });
