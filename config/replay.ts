import { z } from 'zod';
import { duration } from './durations.ts';

/** How the way in remembers proofs that were spent. */
export const replayTable = z
  .strictObject({
    ledger: z
      .literal('memory')
      .prefault('memory')
      .meta({
        description:
          'Where spent proofs are kept: `memory` is that of this process. A ledger that replicas share (Valkey) is not available yet.',
        examples: ['memory'],
      }),
    // A nonce is made with a key of the process, so a proof that was spent before a restart, or at another replica, names a wrong one.
    nonce: z
      .enum(['required', 'off'])
      .prefault('required')
      .meta({
        description:
          'Whether a DPoP proof must hold a nonce of this process (RFC 9449, 9). With `off`, proofs that are older than the process are refused for a while after a start, and only one replica may stand behind an origin: several would each take the same proof once.',
        examples: ['required'],
      }),
    max_entries: z
      .int()
      .min(1)
      .max(16_777_216)
      .prefault(1_000_000)
      .meta({
        description:
          'How many spent proofs are remembered at once; while the ledger is full, more are refused (about 48 MB for a million).',
        examples: [1_000_000],
      }),
    window: duration({ min: '1s', max: '10m' })
      .prefault('60s')
      .meta({
        description: 'How old a proof may be (`iat`); a spent one is remembered for longer than that.',
        examples: ['60s'],
      }),
    future: duration({ min: '0s', max: '1m' })
      .prefault('5s')
      .meta({
        description: 'How far in the future the time of a proof may be, for clocks that differ.',
        examples: ['5s'],
      }),
    on_replay: z
      .literal('block')
      .prefault('block')
      .meta({
        description: 'What a replay leads to: `block` refuses the request, counts it and records it.',
        examples: ['block'],
      }),
  })
  .readonly()
  .prefault({})
  .meta({
    title: 'replay',
    description: 'How the way in sees to it that a proof is good for one request. Without `inbound` it has no effect.',
    examples: [{ ledger: 'memory', nonce: 'required' }],
  });
