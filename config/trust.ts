import { z } from 'zod';
import { domainSource, type DomainSource } from './trust-sources.ts';
import { asList, line, path } from './text.ts';
import { endpointUrl, issuerUrl } from './urls.ts';

/** Characters of the SPIFFE-ID standard, 2.1. */
export const trustDomain = z.string().regex(/^[a-z0-9._-]{1,255}$/, {
  error: 'a trust domain has lower-case letters, digits, ".", "_" and "-" only, such as example.org',
});

/** One issuer whose tokens may open tasks, or are taken on the way in. */
const trustedIssuer = z
  .strictObject({
    issuer: issuerUrl.meta({
      description: 'Issuer of tokens, exactly as it stands in their `iss`.',
      examples: ['https://sso.example.org/realms/corp'],
    }),
    audience: z
      .union([line, z.array(line).min(1).max(32)])
      .optional()
      .transform((audience) => (audience === undefined ? [] : asList(audience)))
      .meta({
        description:
          'Audience, one or a list, of which the subject token of a task must name at least one; without it no task can be opened with a subject token of this issuer. On the way in the audience is `inbound.resource` instead.',
        examples: ['invoice-bot', ['invoice-bot', 'https://invoice-bot.example.org']],
      }),
    typ: z
      .array(line)
      .min(1)
      .max(8)
      .readonly()
      .prefault(['at+jwt'])
      .meta({
        description:
          'Values of the JWT header `typ` that are accepted; other kinds of token are refused (RFC 8725, 3.11). `none` accepts tokens without that header.',
        examples: [['at+jwt', 'JWT']],
      }),
    jwks_uri: endpointUrl.optional().meta({
      description: 'Where its keys are; found by discovery if absent.',
      examples: ['https://sso.example.org/realms/corp/keys'],
    }),
    tls: z
      .strictObject({
        ca: path.optional().meta({
          description:
            'File with the CA certificates (PEM) that are trusted for the origins of the issuer and of `jwks_uri`, in place of the public ones. What a token service at such an origin says holds too.',
          examples: ['/etc/corp-ca.pem'],
        }),
      })
      .readonly()
      .prefault({})
      .meta({ description: 'How the issuer is recognised.' }),
  })
  .readonly();

/** Whose statements are believed: SPIFFE trust domains and token issuers. */
export const trustTable = z
  .strictObject({
    domains: z
      .record(trustDomain, domainSource)
      .prefault({})
      .transform((domains): ReadonlyMap<string, DomainSource> => new Map(Object.entries(domains)))
      .meta({
        description:
          'SPIFFE trust domains, each with where its keys come from: `workload_api` or `svid_dir` (with the identity, from `identity`), a bundle endpoint, or a file. Client certificates and links of a chain are checked with them.',
        examples: [
          {
            'example.org': 'workload_api',
            'partner.org': { bundle_endpoint: { url: 'https://spiffe.partner.org/bundle', profile: 'https_web' } },
          },
        ],
      }),
    issuers: z.array(trustedIssuer).max(64).readonly().prefault([]).meta({
      description: 'Issuers whose subject tokens may open tasks, and whose access tokens `inbound.accept` may take.',
    }),
  })
  .readonly()
  .prefault({})
  .meta({
    title: 'trust',
    description: 'Whose statements are believed: SPIFFE trust domains and issuers of tokens.',
    examples: [
      {
        domains: { 'example.org': 'workload_api' },
        issuers: [{ issuer: 'https://sso.example.org/realms/corp', audience: 'invoice-bot', typ: ['at+jwt'] }],
      },
    ],
  });
