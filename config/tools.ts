import { z } from 'zod';
import { dialAddress } from './addresses.ts';
import { brokeredSecret, credentialHeader } from './brokered-secrets.ts';
import { delegate } from './delegations.ts';
import { duration } from './durations.ts';
import { grantFields } from './grants.ts';
import { match } from './matches.ts';
import { risk } from './risks.ts';
import { scope } from './scopes.ts';
import { asList, asMap, identifier, line, lineOrNothing, type Named } from './text.ts';
import { tls } from './tool-tls.ts';
import { txnToken } from './txn-tokens.ts';
import { resourceUri } from './urls.ts';

/** What is asked for and how it is bound; also the larger part of the cache key (W4). */
const token = z
  .strictObject({
    from: z
      .union([identifier, z.array(identifier).min(1).max(8)])
      .transform(asList)
      .meta({
        description:
          'Name of the token service (a key of `token_services`) that issues the token. Of a list it is the first whose issuer the tool names in its protected resource metadata (RFC 9728); with one name the tool is not asked.',
        examples: ['corp', ['corp', 'partner']],
      }),
    audience: z
      .union([line, z.array(line).min(1).max(16)])
      .optional()
      .transform((audience) => (audience === undefined ? [] : asList(audience)))
      .meta({
        description:
          'Audience that is asked for and must be in the token, one or a list. This or `resource` is needed.',
        examples: [['crm']],
      }),
    resource: resourceUri.optional().meta({
      description: 'Resource that is asked for (RFC 8707): the absolute URI of the tool.',
      examples: ['https://crm.example.org'],
    }),
    scopes: z
      .array(scope)
      .max(64)
      .readonly()
      .optional()
      .meta({
        description: 'Scopes that are asked for; a token with more is refused.',
        examples: [['crm.read']],
        'x-default': 'none are asked for, and the service decides',
      }),
    use_for: duration({ min: '1s', max: '1h' })
      .prefault('5m')
      .meta({
        description: 'How long a token is used at most before a new one is asked for.',
        examples: ['5m'],
      }),
    proof: z
      .enum(['none', 'dpop', 'mtls'])
      .prefault('none')
      .meta({
        description:
          'What the token is bound to: `dpop` to a key of the sidecar, with a proof in every request (RFC 9449), `mtls` to its X.509-SVID, which the tool has to ask for (RFC 8705; needs `tls.client: svid`), `none` to nothing: plain bearer.',
        examples: ['dpop'],
      }),
    nonce: z
      .literal('required')
      .optional()
      .meta({
        description: 'Set if the tool demands DPoP nonces.',
        examples: ['required'],
      }),
    ...grantFields,
  })
  .readonly();

/** Metadata and link-local addresses have no word here: they are never dialled. */
const addressKind = z.enum(['public', 'private', 'loopback']);

/** One tool: which calls are its calls, the token for them, and what makes it dangerous. */
export const tool = z
  .strictObject({
    match: match.meta({
      description:
        'Which calls are calls of this tool. Of several tools that match, it is the one with the more exact host, then a named port, then the longer of the path patterns that fit the call, then the earlier line.',
    }),
    token: token.optional().meta({
      description: 'The token that calls get; without it a call carries no credential and needs no task.',
    }),
    secret: brokeredSecret.optional().meta({
      description:
        'In place of `token`, for tools that know static keys only: a secret that the sidecar holds and the agent never sees. Nothing binds it to a task or a call.',
    }),
    trust_domain: z
      .literal('inside')
      .optional()
      .meta({
        description:
          '`inside`: the tool is in the trust domain of transaction tokens, and gets them. Every other tool is outside, and never does.',
        examples: ['inside'],
      }),
    txn_token: txnToken.optional().meta({
      description:
        'A transaction token that goes along as `Txn-Token`, unless the task came with one, which is then carried unchanged.',
    }),
    risk: risk.prefault('read').meta({
      description: 'The worst that a call can do; deploy, payment and export need a proof, or `unsafe_bearer`.',
      examples: ['write'],
    }),
    sensitivity: lineOrNothing.prefault('').meta({
      description: 'Kind of the data, for rules: `tool.sensitivity`.',
      examples: ['internal'],
    }),
    on_behalf_of: z
      .enum(['user', 'workload', 'agent', 'any'])
      .prefault('user')
      .meta({
        description: 'Whose tasks may use the tool; `agent` and `any` admit the standing task.',
        examples: ['user'],
      }),
    addresses: z
      .union([addressKind, z.array(addressKind).min(1).max(3)])
      .prefault('public')
      .transform(asList)
      .meta({
        description:
          'Kinds of address the host may resolve to, one or a list; cloud metadata and link-local never. Not asked for a `dial`.',
        examples: ['private', ['public', 'private']],
      }),
    dial: dialAddress.optional().meta({
      description:
        'IP address and port to connect to instead of asking DNS; name, TLS and token stay those of the tool.',
      examples: ['127.0.0.1:8443'],
    }),
    tls: tls.prefault({}).meta({ description: 'How the tool is recognised, and what it is shown of us.' }),
    chain: z
      .enum(['full', 'none'])
      .optional()
      .meta({
        description:
          'Whether calls carry the delegation chain (`Waybill-Delegation`), which shows the tool the path of the task: `full` or `none`.',
        examples: ['full'],
        'x-default':
          '`full` where a proof binds the chain to the request, `none` with plain bearer and without identity',
      }),
    delegate: delegate.optional().meta({
      description:
        'What the link of the chain permits the tool to do further on in the task; without it only the call itself.',
      examples: [{ resources: ['https://worker.example.org', 'https://crm.example.org'], risk: 'read', hops: 1 }],
    }),
    // The sidecar must know every header that can hold a handle: one that it does not strip would reach the tool.
    handle_header: credentialHeader.optional().meta({
      description: 'A further header in which an agent may send its handle to this tool; it is removed.',
      examples: ['x-crm-key'],
    }),
    plaintext: z
      .literal('unsafe')
      .optional()
      .meta({
        description:
          '`unsafe` sends credentials over plain http to hosts other than loopback, where anybody on the path can read them.',
        examples: ['unsafe'],
      }),
    cookies: z
      .enum(['hold', 'strip', 'pass'])
      .optional()
      .meta({
        description:
          'Cookies of the tool: `hold` keeps them in the sidecar and sends them with the next calls of the same task alone, `strip` removes them in both directions, `pass` leaves them to agent and tool. A session that was opened with a credential is good without it: `pass` beside one is an unsafe setting.',
        examples: ['strip'],
        'x-default': '`hold` with a `token` or `secret`, else `pass`',
      }),
    unsafe_bearer: z
      .boolean()
      .prefault(false)
      .meta({
        description:
          'Allows a token without proof at a tool of risk deploy, payment or export: who steals it can use it there.',
        examples: [true],
      }),
    unsafe_response_screen: z
      .literal('off')
      .optional()
      .meta({
        description:
          '`off` passes the answers of the tool on as they are: a tool that gives back what it got shows the agent its token.',
        examples: ['off'],
      }),
    unsafe_unverified: z
      .boolean()
      .prefault(false)
      .meta({
        description:
          'Allows tokens of a service with `verify: response-only` at a tool of a graver risk than read: nobody looks at what they say.',
        examples: [true],
      }),
    unsafe_raw_paths: z
      .boolean()
      .prefault(false)
      .meta({
        description:
          'Lets paths through that the tool could read otherwise than the rules do (`/a/../b`, `%2f`, `//`).',
        examples: [true],
      }),
  })
  .readonly();

/** The tools, by name, in the order of the file. */
export const toolsTable = z
  .record(identifier, tool)
  .prefault({})
  .transform(asMap)
  .meta({
    title: 'tools',
    description: 'The destinations that the agent may call, by name. What is not listed is refused.',
    examples: [
      {
        crm: {
          match: { host: 'crm.example.org', paths: ['/api/**'], methods: ['GET'] },
          token: {
            from: 'corp',
            audience: ['crm'],
            resource: 'https://crm.example.org',
            scopes: ['crm.read'],
            use_for: '5m',
            proof: 'dpop',
          },
          risk: 'read',
          sensitivity: 'internal',
          on_behalf_of: 'user',
          addresses: 'private',
          dial: '127.0.0.1:8443',
          tls: { ca: '/etc/ca.pem' },
        },
        docs: { match: { host: '*.docs.example.org', methods: ['GET'] } },
      },
    ],
  });

/** One tool with its name; `addresses` is a list, `dial` an address and a port, `handle_header` lower case. */
export type ToolSettings = Readonly<Named<z.output<typeof tool>>>;
