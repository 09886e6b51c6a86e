import { z } from 'zod';
import { line, path } from './text.ts';

/** How assertions are written, for services that do not follow rfc7523bis yet. */
const assertion = z
  .strictObject({
    audience: z
      .enum(['issuer', 'token_endpoint'])
      .prefault('issuer')
      .meta({
        description:
          'What stands in `aud`: the issuer, which no other service can pass off as its own, or the URL of the token endpoint for services that demand it.',
        examples: ['token_endpoint'],
      }),
    typ: z
      .enum(['client-authentication+jwt', 'JWT', 'none'])
      .prefault('client-authentication+jwt')
      .meta({
        description: 'Header `typ` of an assertion that the sidecar signs; `none` leaves it out.',
        examples: ['JWT'],
      }),
  })
  .readonly();

/** How the sidecar proves to a token service which client it is. Of files the path stands here and never the content. */
export const clientAuthSettings = {
  client_auth: z
    .enum([
      'spiffe_jwt',
      'spiffe_x509',
      'private_key_jwt',
      'tls_client_auth',
      'kubernetes_jwt',
      'client_secret_basic',
      'client_secret_post',
    ])
    .meta({
      description:
        'How the sidecar authenticates: with its JWT-SVID or X.509-SVID, with an assertion that it signs with a key of its own (RFC 7523), with a client certificate (RFC 8705, issued or self-signed), with the token of its Kubernetes service account, or with a client secret.',
      examples: ['spiffe_jwt'],
    }),
  client_id: line.optional().meta({
    description: 'Client id at the service; needed with a client secret, key or certificate of its own.',
    examples: ['invoice-bot'],
    'x-default': 'the SPIFFE ID, or none with `kubernetes_jwt`',
  }),
  // A path and never the value: configurations end up in repositories, tickets and process listings.
  client_secret_file: path.optional().meta({
    description: 'File that holds the client secret; secrets never stand in this configuration.',
    examples: ['/run/secrets/corp-client'],
  }),
  client_key_file: path.optional().meta({
    description:
      'File with the private key of `private_key_jwt` (PEM or JWK; P-256, P-384, Ed25519, or RSA of 2048 bits or more) or `tls_client_auth` (PEM); read anew when it changes.',
    examples: ['/run/secrets/corp-key.pem'],
  }),
  client_key_id: line.optional().meta({
    description: 'Name of the key at the service (`kid`), for `private_key_jwt`.',
    examples: ['2026-11'],
    'x-default': 'the `kid` of a JWK, else none is sent',
  }),
  client_certificate_file: path.optional().meta({
    description: 'File with the certificate of `tls_client_auth` and those above it (PEM); read anew when it changes.',
    examples: ['/run/secrets/corp-client.pem'],
  }),
  token_file: path.optional().meta({
    description:
      'File with the projected service account token of `kubernetes_jwt`; its only audience must be the issuer, or what `assertion.audience` says.',
    examples: ['/var/run/secrets/tokens/corp'],
    'x-default': 'that of `identity.kubernetes`',
  }),
  assertion: assertion.prefault({}).meta({
    description: 'How assertions of `private_key_jwt` and `kubernetes_jwt` are written.',
  }),
  tls: z
    .strictObject({
      ca: path.optional().meta({
        description:
          'File with the CA certificates (PEM) that are trusted for the origin of the issuer and of `endpoints`, in place of the public ones; for its metadata and keys too.',
        examples: ['/etc/corp-ca.pem'],
      }),
    })
    .readonly()
    .prefault({})
    .meta({ description: 'How the service is recognised.' }),
};

/** Which ways of `client_auth` a setting is for; without a meaning for the others. */
export const meantFor: Readonly<Record<string, readonly string[]>> = {
  client_secret_file: ['client_secret_basic', 'client_secret_post'],
  client_key_file: ['private_key_jwt', 'tls_client_auth'],
  client_key_id: ['private_key_jwt'],
  client_certificate_file: ['tls_client_auth'],
  token_file: ['kubernetes_jwt'],
};
