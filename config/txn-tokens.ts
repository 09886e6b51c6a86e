import { z } from 'zod';
import { duration } from './durations.ts';
import { scope } from './scopes.ts';
import { identifier, line } from './text.ts';
import { endpointUrl, issuerUrl } from './urls.ts';

const plainJson = z.record(z.string().min(1).max(100), z.json());

/** A transaction token that calls of a tool carry beside their access token. */
export const txnToken = z
  .strictObject({
    from: identifier.meta({
      description: 'Name of the token service (a key of `token_services`) that issues transaction tokens.',
      examples: ['tts'],
    }),
    audience: line.meta({
      description: 'The trust domain that the token is for, as its service names it.',
      examples: ['trust-domain.example'],
    }),
    scope: z
      .union([scope, z.array(scope).min(1).max(64)])
      .transform((scopes): readonly string[] => (typeof scopes === 'string' ? [scopes] : scopes))
      .meta({
        description: 'Scopes that are asked for, one or a list; a token with more is refused.',
        examples: [['invoices.read']],
      }),
    request_context: plainJson.optional().meta({
      description: 'What is said of the environment of the request (`rctx`).',
      examples: [{ channel: 'agent' }],
    }),
    request_details: plainJson.optional().meta({
      description: 'What is said of the transaction itself (`tctx`).',
      examples: [{ action: 'reconcile' }],
    }),
  })
  .readonly();

/** Whose transaction tokens the way in takes. */
export const inboundTxnToken = z
  .strictObject({
    audience: line.meta({
      description: 'The trust domain that a token must be for: its only `aud`.',
      examples: ['trust-domain.example'],
    }),
    issuer: issuerUrl.optional().meta({
      description: 'Issuer of the tokens. Where a token names one it must be this; its keys are found from it.',
      examples: ['https://tts.example.org'],
    }),
    jwks_uri: endpointUrl.optional().meta({
      description: 'Where the keys of the transaction token service are. This or `issuer` is needed.',
      examples: ['https://tts.example.org/keys'],
    }),
    require: z
      .boolean()
      .prefault(false)
      .meta({
        description: 'Refuses requests without a transaction token.',
        examples: [true],
      }),
    sub: z
      .enum(['same', 'any'])
      .prefault('same')
      .meta({
        description:
          'Subject of the token: `same` as in the access token beside it, or `any`. Callers without one are not compared.',
        examples: ['any'],
      }),
    once: z
      .boolean()
      .prefault(false)
      .meta({
        description: 'Takes each transaction once only at this workload.',
        examples: [true],
      }),
    max_lifetime: duration({ min: '1s', max: '1h' })
      .prefault('5m')
      .meta({
        description: 'A token that lives longer is refused.',
        examples: ['5m'],
      }),
  })
  .readonly();
