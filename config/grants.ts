import { z } from 'zod';
import { identifier, line } from './text.ts';

/** The part of `tools.X.token` that says how the token is asked for. */
export const grantFields = {
  grant: z
    .enum(['token_exchange', 'client_credentials', 'jwt_bearer', 'id_jag', 'identity_chaining'])
    .optional()
    .meta({
      description:
        'How the token is asked for: `token_exchange` with the token of the subject, `client_credentials` as the agent itself, `jwt_bearer` with a signed assertion (RFC 7523); `id_jag` and `identity_chaining` with what `granted_by` states of the subject.',
      examples: ['client_credentials'],
      'x-default': '`client_credentials` in tasks without a subject token, else that of the profile',
    }),
  granted_by: identifier.optional().meta({
    description:
      'With `id_jag` and `identity_chaining`: the token service that knows the subject, and states to the one in `from` for whom it may issue a token.',
    examples: ['idp'],
  }),
  assertion: z
    .enum(['subject', 'workload'])
    .optional()
    .meta({
      description:
        'With `jwt_bearer`: what is handed in, the token of the `subject` or a JWT-SVID of this `workload` for that service alone.',
      examples: ['workload'],
      'x-default': '`subject`',
    }),
  requested_token_type: z
    .enum(['access_token', 'jwt'])
    .prefault('access_token')
    .meta({
      description: 'Kind of token that an exchange asks for (RFC 8693, 3); a token of another kind is refused.',
      examples: ['jwt'],
    }),
  authorization_details: z
    .array(
      z.looseObject({
        type: line.meta({
          description: 'Type of the detail, which says what its members mean.',
          examples: ['ticket'],
        }),
      }),
    )
    .min(1)
    .max(16)
    .readonly()
    .optional()
    .meta({
      description:
        'Details that are asked for beyond scopes (RFC 9396), each with its `type`; a token with wider or other ones is refused.',
      examples: [[{ type: 'ticket', actions: ['read'], locations: ['https://crm.example.org'] }]],
    }),
};
