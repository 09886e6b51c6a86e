import { z } from 'zod';
import { listenAddress } from './addresses.ts';

/** Where the sidecar listens. */
export const listenTable = z
  .strictObject({
    // Loopback by default: the way out trusts nobody, but every caller there is taken for the agent.
    outbound: listenAddress.prefault('127.0.0.1:15001').meta({
      description:
        'The way out: forward proxy and mounts (`/tools/NAME/…`). Whoever reaches it can call as the agent: not on loopback it is an unsafe setting.',
      examples: ['127.0.0.1:15001'],
    }),
    // Callers come from other machines; `inbound` sees to it that this needs TLS.
    inbound: listenAddress.prefault('0.0.0.0:15006').meta({
      description: 'The way in, if there is `inbound`.',
      examples: ['0.0.0.0:15006'],
    }),
    metrics: listenAddress.prefault('127.0.0.1:15020').meta({
      description: 'Prometheus metrics at `/metrics`.',
      examples: ['0.0.0.0:15020'],
    }),
    health: listenAddress.prefault('127.0.0.1:15021').meta({
      description: 'Health at `/livez` and `/readyz`.',
      examples: ['0.0.0.0:15021'],
    }),
  })
  .readonly()
  .prefault({})
  .meta({
    title: 'listen',
    description:
      'Where the sidecar listens: IP address and port. Port 0 takes a free one; the log line `ready` says which.',
    examples: [
      {
        outbound: '127.0.0.1:15001',
        inbound: '0.0.0.0:15006',
        metrics: '127.0.0.1:15020',
        health: '127.0.0.1:15021',
      },
    ],
  });
