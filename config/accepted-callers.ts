import { z } from 'zod';
import { caller } from './callers.ts';
import { identifier, line } from './text.ts';
import { trustDomain } from './trust.ts';
import { issuerUrl } from './urls.ts';

/** Callers with an access token of one issuer. */
export const acceptedIssuer = z
  .strictObject({
    issuer: issuerUrl.meta({
      description:
        'Issuer whose access tokens are taken; one of `trust.issuers`, which says their `typ` and where its keys are. Its `audience` there is not asked for here: the audience of a token must be `inbound.resource`.',
      examples: ['https://sso.example.org/realms/corp'],
    }),
    proof: z
      .enum(['dpop', 'mtls'])
      .optional()
      .meta({
        description:
          'Proof that the caller holds the key of the token: a DPoP proof with every request (RFC 9449), or the client certificate of the connection (RFC 8705). It may be left out only with `unsafe_bearer: true`.',
        examples: ['dpop'],
        'x-default': 'none: needed, or `unsafe_bearer: true`',
      }),
    presenters: z
      .record(line, caller)
      .prefault({})
      .transform((presenters): ReadonlyMap<string, z.output<typeof caller>> => new Map(Object.entries(presenters)))
      .meta({
        description:
          'With `proof: mtls`, for services that cannot bind a token to a certificate: the client (`client_id` or `azp`) that a token was issued to, and the SPIFFE ID that must present it by its X.509-SVID. A token that is bound to a key or certificate needs no entry, and gets no help from one.',
        examples: [{ planner: 'spiffe://example.org/planner' }],
        'x-default': 'none: tokens must be bound to the certificate (RFC 8705)',
      }),
    unsafe_bearer: z
      .boolean()
      .prefault(false)
      .meta({
        description:
          'In place of `proof`: takes tokens that are bound to no key, without a proof; who steals one can use it here until it ends.',
        examples: [true],
      }),
    // The one that introspects sees the token, so it must be the one that issued it; inbound-checks.ts compares the issuers.
    introspect: identifier.optional().meta({
      description:
        'Name of the token service of this issuer (a key of `token_services`) that is asked whether a token is still active (RFC 7662); an answer is kept for at most 30 s.',
      examples: ['corp'],
      'x-default': 'none: a token is good until it expires',
    }),
  })
  .readonly();

/** Callers without a token: workloads that are known by their SVID and are themselves the subject. */
export const acceptedDomain = z
  .strictObject({
    trust_domain: trustDomain.meta({
      description:
        'SPIFFE trust domain whose workloads may call without an access token, each as itself; one of `trust.domains`. A JWT-SVID that comes along must name the same SPIFFE ID.',
      examples: ['example.org'],
    }),
    proof: z.literal('mtls').meta({
      description: 'Such a caller is known by the X.509-SVID of its connection.',
      examples: ['mtls'],
    }),
  })
  .readonly();
