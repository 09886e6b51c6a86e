import { z } from 'zod';
import { clientAuthSettings } from './client-auth.ts';
import { duration } from './durations.ts';
import { profileNames, type ServiceProfile, serviceProfiles } from './service-profiles.ts';
import { asMap, identifier, line } from './text.ts';
import { endpointUrl, issuerUrl } from './urls.ts';

/** Each is https (loopback apart), and dialled through the egress guard like a tool (W5). */
const endpoints = z
  .strictObject({
    token: endpointUrl.optional().meta({
      description: 'Token endpoint (RFC 6749, 3.2).',
      examples: ['https://sso.example.org/token'],
    }),
    revocation: endpointUrl.optional().meta({
      description: 'Revocation endpoint (RFC 7009).',
      examples: ['https://sso.example.org/revoke'],
    }),
    introspection: endpointUrl.optional().meta({
      description: 'Introspection endpoint (RFC 7662).',
      examples: ['https://sso.example.org/introspect'],
    }),
    jwks: endpointUrl.optional().meta({
      description: 'Key set that signs its tokens.',
      examples: ['https://sso.example.org/keys'],
    }),
  })
  .readonly();

/** What the checks of W5 compare an issued token with. */
const expectation = z
  .strictObject({
    sub: z
      .enum(['same', 'any'])
      .optional()
      .meta({
        description: 'Subject of an issued token: `same` as in the subject token, or `any`.',
        examples: ['same'],
        'x-default': '`same`; profiles entra-obo and chaining `any`',
      }),
    act: z
      .enum(['self', 'none', 'any'])
      .optional()
      .meta({
        description: 'Actor of an issued token: `self` (this workload), `none` (no `act` claim) or `any`.',
        examples: ['self'],
        'x-default': '`self` with an actor, else `any`; profile entra-obo `none`, chaining `any`',
      }),
    typ: z
      .array(line)
      .min(1)
      .max(8)
      .readonly()
      .optional()
      .meta({
        description:
          'Values of the JWT header `typ` that an issued token may have; `none` stands for a token without that header.',
        examples: [['at+jwt']],
        'x-default': '`[at+jwt, JWT]`; profile entra-obo `[JWT]`',
      }),
    scopes: z
      .enum(['asked', 'subject'])
      .optional()
      .meta({
        description:
          'Scopes that an issued token may have: those `asked` for, or of these only the ones that the `subject` token has.',
        examples: ['subject'],
        'x-default': '`asked`; profile keycloak `subject`',
      }),
    life: z
      .enum(['any', 'cut', 'refuse'])
      .optional()
      .meta({
        description:
          'A token that outlives the subject token by more than 30 s: `any` uses it until the subject token ends, `cut` does the same and tells of it (`token.cut`), `refuse` refuses it.',
        examples: ['refuse'],
        'x-default': '`any`; profile keycloak `cut`',
      }),
    workload: z
      .enum(['self', 'any'])
      .optional()
      .meta({
        description:
          'Requesting workload (`req_wl`) of an issued transaction token: `self` (our SPIFFE ID or client id) or `any`.',
        examples: ['any'],
        'x-default': '`self`',
      }),
  })
  .readonly();

/** A service as a person writes it. */
const written = z.strictObject({
  issuer: issuerUrl.meta({
    description: 'Issuer of the service, exactly as in its metadata and tokens.',
    examples: ['https://sso.example.org/realms/corp'],
  }),
  profile: z
    .enum(profileNames)
    .prefault('rfc8693')
    .meta({
      description:
        'How the service differs from the standard; it sets the defaults of `bound_subject`, `expect` and `max_lifetime`, and how it is asked.',
      examples: ['keycloak'],
    }),
  ...clientAuthSettings,
  endpoints: endpoints.prefault({}).meta({
    description: 'Endpoints, where discovery is absent or where they are outside the origin of the issuer.',
  }),
  actor: z
    .enum(['jwt-svid', 'client_credentials', 'none'])
    .prefault('none')
    .meta({
      description: 'What is sent as `actor_token` (RFC 8693, 2.1).',
      examples: ['jwt-svid'],
    }),
  bound_subject: z
    .enum(['accept', 'refuse'])
    .optional()
    .meta({
      description: 'Whether the service takes a subject token that is bound to the key of another client.',
      examples: ['refuse'],
      'x-default': '`accept`; profile keycloak `refuse`',
    }),
  verify: z
    .enum(['jwt', 'introspect', 'response-only'])
    .prefault('jwt')
    .meta({
      description:
        'How an issued token is checked: as a signed JWT, by asking the service (RFC 7662), or by the members of its answer alone, which holds its tools to risk read.',
      examples: ['jwt'],
    }),
  expect: expectation
    .prefault({})
    .meta({ description: 'What an issued token must look like, else it is refused and revoked.' }),
  // A service that issues longer lives than agreed would undo what short lives are for.
  max_lifetime: duration({ min: '1s', max: '24h' })
    .optional()
    .meta({
      description: 'A token that lives longer is refused.',
      examples: ['1h'],
      'x-default': '`1h`; profile entra-obo `90m`',
    }),
  timeout: duration({ min: '50ms', max: '30s' })
    .prefault('2s')
    .meta({
      description: 'Longest wait for an answer of the service.',
      examples: ['2s'],
    }),
});

/** Fills in what the profile and the actor decide, so that rooms read one settled value. */
const tokenService = written.transform((service) => {
  const profile: ServiceProfile = serviceProfiles[service.profile];
  const { sub, act, typ, scopes, life, workload } = service.expect;
  const actor = service.actor === 'none' ? 'any' : 'self';
  return Object.freeze({
    ...service,
    bound_subject: service.bound_subject ?? profile.bound_subject,
    expect: Object.freeze({
      sub: sub ?? profile.expect.sub,
      act: act ?? (profile.expect.act === 'by-actor' ? actor : profile.expect.act),
      typ: typ ?? profile.expect.typ,
      scopes: scopes ?? profile.expect.scopes,
      life: life ?? profile.expect.life,
      workload: workload ?? profile.expect.workload,
    }),
    max_lifetime: service.max_lifetime ?? profile.max_lifetime,
    dialect: profile.dialect,
  });
});

/** The services that issue downstream tokens, by name. */
export const tokenServicesTable = z
  .record(identifier, tokenService)
  .prefault({})
  .transform(asMap)
  .meta({
    title: 'token_services',
    description: 'The services that issue tokens for tools, by name.',
    examples: [
      {
        corp: {
          issuer: 'https://sso.example.org/realms/corp',
          profile: 'rfc8693',
          client_auth: 'spiffe_jwt',
          actor: 'jwt-svid',
          verify: 'jwt',
          expect: { sub: 'same', act: 'self', typ: ['at+jwt'] },
          max_lifetime: '1h',
        },
      },
    ],
  });
