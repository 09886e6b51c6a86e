import { z } from 'zod';
import { caller } from './callers.ts';
import { path } from './text.ts';

/** TLS with a tool. Verification itself cannot be turned off. */
export const tls = z
  .strictObject({
    ca: path.optional().meta({
      description:
        'File with the CA certificates (PEM) that are trusted for this tool in place of the public ones. With a `token` or `secret` the tool is then called over https only.',
      examples: ['/etc/ca.pem'],
    }),
    spiffe_id: caller.optional().meta({
      description:
        'SPIFFE ID that the tool must prove with its X.509-SVID, in place of a certificate for its host name; a final `/**` takes all below it by whole segments. Its trust domain is one of `trust.domains`.',
      examples: ['spiffe://example.org/crm'],
      'x-default': 'none: the certificate must be for the host name',
    }),
    client: z
      .enum(['none', 'svid'])
      .prefault('none')
      .meta({
        description: 'Whether the sidecar shows its X.509-SVID when the tool asks for a client certificate.',
        examples: ['svid'],
      }),
  })
  .readonly();
