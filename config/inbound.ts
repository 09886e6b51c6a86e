import { z } from 'zod';
import { acceptedDomain, acceptedIssuer } from './accepted-callers.ts';
import { caller } from './callers.ts';
import { isSpiffe, type IdentitySettings } from './identity.ts';
import { inboundTxnToken } from './txn-tokens.ts';
import { issuerUrl, originUrl, programUrl, resourceUri } from './urls.ts';

const chain = z
  .strictObject({
    require: z
      .boolean()
      .prefault(false)
      .meta({
        description:
          'Refuses requests without a delegation chain. An agent that users call first takes requests without: it writes the first link itself.',
        examples: [true],
      }),
    max_links: z
      .int()
      .min(1)
      .max(10)
      .prefault(5)
      .meta({ description: 'How many links a chain may have.', examples: [5] }),
    max_bytes: z
      .int()
      .min(1024)
      .max(32_768)
      .prefault(8192)
      .meta({
        description:
          'How long the header of a chain may be, bytes. All headers of a request together have 32 KiB at most.',
        examples: [8192],
      }),
  })
  .readonly();

/** The way in as a person writes it. */
const written = z.strictObject({
  origin: originUrl.meta({
    description:
      'Origin that callers use, and that the `htu` of a proof must name: scheme, host and port, without path. https, or http on loopback. It is never taken from the request.',
    examples: ['https://invoice-bot.example.org'],
  }),
  resource: resourceUri.optional().meta({
    description: 'Absolute URI that must be the audience of tokens, and of the last link of a chain.',
    examples: ['https://invoice-bot.example.org'],
    'x-default': '`inbound.origin`',
  }),
  accept: z
    .array(z.union([acceptedIssuer, acceptedDomain]))
    .min(1)
    .max(64)
    .readonly()
    .meta({
      description:
        'Whose requests are taken, and by which proof: access tokens of an issuer, or workloads of a trust domain without a token. Each stands here once.',
      examples: [[{ issuer: 'https://sso.example.org/realms/corp', proof: 'dpop' }]],
    }),
  token: z
    .strictObject({
      once: z
        .boolean()
        .prefault(false)
        .meta({
          description:
            'Takes each access token for one request only: its `jti` is spent with it. Callers then need a token for every call.',
          examples: [true],
        }),
    })
    .readonly()
    .prefault({})
    .meta({ description: 'How access tokens are taken.' }),
  callers: z
    .array(caller)
    .min(1)
    .max(1000)
    .readonly()
    .optional()
    .meta({
      description:
        'SPIFFE IDs that may call, compared whole; `spiffe://example.org/planner/**` is that ID and all below it by whole segments (not `planner2`), `spiffe://example.org/**` every workload of a trust domain. The ID is that of the client certificate, else that of the last link of the delegation chain, else that of the outermost actor (`act`) of the token: with this list, a caller that has none of them is refused.',
      examples: [['spiffe://example.org/planner/**']],
      'x-default': 'whoever `accept` takes',
    }),
  chain: chain.prefault({}).meta({ description: 'What delegation chains must be like.' }),
  subject_map: z
    .record(issuerUrl, issuerUrl)
    .prefault({})
    .transform((map): ReadonlyMap<string, string> => new Map(Object.entries(map)))
    .meta({
      description:
        'Where issuers name the same subject by different issuers: the issuer of the token, and the issuer that the root of the chain names for the same `sub`.',
      examples: [{ 'https://sso.example.org/realms/tools': 'https://sso.example.org/realms/corp' }],
    }),
  program: z
    .enum(['agent', 'tool'])
    .prefault('agent')
    .meta({
      description:
        'What stands behind the way in: an agent, which must hold nothing that is good elsewhere, or a tool that checks tokens itself.',
      examples: ['agent'],
    }),
  present: z
    .enum(['inert-jwt', 'handle', 'headers', 'original', 'unsafe_original'])
    .prefault('inert-jwt')
    .meta({
      description:
        'What the program sees in place of the credential: `inert-jwt`, the same claims signed with a key that nobody else trusts; `handle`, an opaque handle; `headers`, the verified claims as headers; `original`, the token as it came and the verified path as `Waybill-Chain`, with `program: tool` only. For an agent that is `unsafe_original`: it could use the token elsewhere.',
      examples: ['inert-jwt'],
    }),
  inert_alg: z
    .enum(['ES256', 'RS256'])
    .prefault('ES256')
    .meta({
      description:
        'What an inert JWT is signed with. Programs that verify it and take `RS256` alone, as many are written, need that; each request then costs half a millisecond.',
      examples: ['RS256'],
    }),
  host: z
    .enum(['origin', 'program'])
    .prefault('origin')
    .meta({
      description:
        'The `Host` that the program sees: that of `origin`, as its callers sent it, or its own, that of `forward_to`. That of `origin` is in `X-Forwarded-Host` in any case; with `program`, redirects to its own name lead to `origin`. Programs that take requests to localhost only, such as servers made with the MCP SDKs, need `program`.',
      examples: ['program'],
    }),
  txn_token: inboundTxnToken.optional().meta({
    description:
      'Whose transaction tokens (`Txn-Token`) are taken. One is carried on to tools with `trust_domain: inside` and goes nowhere else. Without this table they are removed.',
  }),
  forward_to: programUrl.meta({
    description:
      'Where the program listens: an http URL on loopback, without path. Whoever can reach it from elsewhere goes round the way in.',
    examples: ['http://127.0.0.1:8080'],
  }),
  tls: z
    .enum(['svid', 'off'])
    .optional()
    .meta({
      description:
        'TLS of the way in: with the X.509-SVID of the workload identity, or `off`, which is for listeners on loopback.',
      examples: ['svid'],
      'x-default': '`svid` with a workload identity and an https `origin`, else `off`',
    }),
  unsafe_plaintext: z
    .boolean()
    .prefault(false)
    .meta({
      description: 'Allows `tls: off` at a listener that is not on loopback: anybody on the path can read the tokens.',
      examples: [true],
    }),
  client_certificates: z
    .enum(['require', 'accept', 'off'])
    .optional()
    .meta({
      description:
        'Whether a connection must have a client certificate (an X.509-SVID of one of `trust.domains`), may have one, or is not asked for one.',
      examples: ['accept'],
      'x-default': '`require` if every entry of `accept` has `proof: mtls`, `accept` if some have, else `off`',
    }),
});

/** The way in. */
export const inboundTable = written
  .readonly()
  .optional()
  .meta({
    title: 'inbound',
    description:
      'The way in, in front of the agent or tool: which requests are taken, and what the program behind sees of them. Without this table there is none.',
    examples: [
      {
        origin: 'https://invoice-bot.example.org',
        resource: 'https://invoice-bot.example.org',
        accept: [
          { issuer: 'https://sso.example.org/realms/corp', proof: 'dpop' },
          { trust_domain: 'example.org', proof: 'mtls' },
        ],
        callers: ['spiffe://example.org/planner/**'],
        chain: { require: true, max_links: 5 },
        present: 'inert-jwt',
        forward_to: 'http://127.0.0.1:8080',
      },
    ],
  });

/** Fills in what other settings decide, so that rooms read one settled value. */
export function settleInbound(inbound: z.output<typeof written>, identity: IdentitySettings) {
  const byDefault = !isSpiffe(identity) || inbound.origin.startsWith('http:') ? 'off' : 'svid';
  const channels = inbound.accept.filter((entry) => entry.proof === 'mtls').length;
  const every = channels === inbound.accept.length ? 'require' : 'accept';
  return Object.freeze({
    ...inbound,
    resource: inbound.resource ?? inbound.origin,
    tls: inbound.tls ?? byDefault,
    client_certificates: inbound.client_certificates ?? (channels === 0 ? 'off' : every),
  });
}

/** `origin` is in its normal form (lower case, no default port); `resource`, `tls` and `client_certificates` are always there. */
export type InboundSettings = ReturnType<typeof settleInbound>;
