import { z } from 'zod';
import { listenAddress } from './addresses.ts';
import { asList, line, path } from './text.ts';
import { endpointUrl, issuerUrl } from './urls.ts';

const subjectsOf = (format: string, value: string) =>
  issuerUrl.optional().meta({
    description: `Issuer whose \`sub\` is ${value} of a subject of format \`${format}\`. Without it such a subject is not known here, and its event is ignored.`,
    examples: ['https://sso.example.org/realms/corp'],
  });

/** Whom a transmitter may speak of. */
const subjects = z
  .strictObject({
    issuers: z
      .array(issuerUrl)
      .min(1)
      .max(32)
      .readonly()
      .optional()
      .meta({
        description:
          'Issuers, exactly as in `iss` of their tokens, whose subjects and tokens the transmitter may revoke. An event for a subject of another issuer is refused.',
        examples: [['https://sso.example.org/realms/corp']],
        'x-default': 'the transmitter’s own `issuer`',
      }),
    opaque: subjectsOf('opaque', 'the `id`'),
    email: subjectsOf('email', 'the `email`'),
    account: subjectsOf('account', 'the `uri`'),
    uri: subjectsOf('uri', 'the `uri`'),
  })
  .readonly()
  .prefault({})
  .meta({ description: 'Whom the transmitter may speak of.' });

const transmitter = z
  .strictObject({
    issuer: issuerUrl.meta({
      description: 'Issuer of its security event tokens, exactly as it stands in their `iss`.',
      examples: ['https://sso.example.org/realms/corp'],
    }),
    audience: z
      .union([line, z.array(line).min(1).max(32)])
      .transform((audience) => asList(audience))
      .meta({
        description: 'Audience, one or a list, of which a security event token must name at least one.',
        examples: ['https://invoice-bot.example.org/signals'],
      }),
    jwks_uri: endpointUrl.optional().meta({
      description: 'Where its keys are; found by `/.well-known/ssf-configuration` of its issuer if absent.',
      examples: ['https://sso.example.org/realms/corp/keys'],
    }),
    authorization_file: path.optional().meta({
      description:
        'File with the whole value that the transmitter must send in `Authorization` (its `authorization_header`), of at least 16 characters, printable ASCII; read at each request.',
      examples: ['/run/secrets/signals-authorization'],
    }),
    subjects,
    tls: z
      .strictObject({
        ca: path.optional().meta({
          description:
            'File with the CA certificates (PEM) that are trusted for the origins of the issuer and of `jwks_uri`, in place of the public ones.',
          examples: ['/etc/corp-ca.pem'],
        }),
      })
      .readonly()
      .prefault({})
      .meta({ description: 'How the transmitter is recognised.' }),
  })
  .readonly();

/** Who may revoke by a signal: a receiver of the Shared Signals Framework. */
export const signalsTable = z
  .strictObject({
    listen: listenAddress.prefault('127.0.0.1:15022').meta({
      description:
        'Where transmitters push their events to, with `POST /signals`. IP address and port; at any other address than loopback it needs `tls`. A server of yours in front of one on loopback calls it by this address, also in `Host`.',
      examples: ['0.0.0.0:15022'],
    }),
    tls: z
      .strictObject({
        certificate: path.meta({
          description: 'PEM file with the certificate of the receiver and its path. `Host` must be one of its names.',
          examples: ['/etc/waybill/signals.pem'],
        }),
        key: path.meta({ description: 'PEM file with its key.', examples: ['/etc/waybill/signals-key.pem'] }),
      })
      .readonly()
      .optional()
      .meta({ description: 'Certificate of the receiver; read anew when the files change.' }),
    unsafe_plaintext: z
      .boolean()
      .prefault(false)
      .meta({
        description:
          'Allows a listener without `tls` that is not on loopback: anybody on the path can hold events back, and read of whom they speak.',
        examples: [true],
      }),
    transmitters: z
      .array(transmitter)
      .min(1)
      .max(64)
      .readonly()
      .meta({ description: 'Who may send events: each may revoke its own subjects and nobody else’s.' }),
  })
  .readonly()
  .optional()
  .meta({
    title: 'signals',
    description:
      'Receiver of security events (Shared Signals Framework 1.0, push delivery by RFC 8935): the events of CAEP and RISC that end a session, or change claims or credentials, revoke their subject. Without this table there is none.',
    examples: [
      {
        listen: '127.0.0.1:15022',
        transmitters: [
          {
            issuer: 'https://sso.example.org/realms/corp',
            audience: 'https://invoice-bot.example.org/signals',
            authorization_file: '/run/secrets/signals-authorization',
          },
        ],
      },
    ],
  });

/** The receiver; its addresses and lists are filled in. */
export type SignalsSettings = NonNullable<z.output<typeof signalsTable>>;
/** One transmitter. */
export type TransmitterSettings = SignalsSettings['transmitters'][number];
