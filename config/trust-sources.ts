import { z } from 'zod';
import { path, workloadId } from './text.ts';
import { findUrlFault } from './urls.ts';

/** Bundles say who may call: unlike token services they are never taken over plain http, not even from loopback. */
const bundleUrl = z
  .string()
  .check((context) => {
    const fault = findUrlFault(context.value, true);
    const message = fault ?? (/^https:/i.test(context.value) ? undefined : 'must be an https URL, on loopback too');
    if (message !== undefined) context.issues.push({ code: 'custom', message, input: context.value });
  })
  .meta({ description: 'Where the bundle is.', examples: ['https://spiffe.partner.org/bundle'] });

const endpointId = z.string().max(2048).regex(workloadId, {
  error: 'must be the SPIFFE ID of a workload, such as spiffe://partner.org/spire/server',
});

const bundleEndpoint = z
  .strictObject({
    url: bundleUrl,
    profile: z.enum(['https_web', 'https_spiffe']).meta({
      description: 'How the endpoint shows who it is: by a certificate of the Web PKI, or by an X.509-SVID.',
      examples: ['https_spiffe'],
    }),
    ca: path.optional().meta({
      description:
        'For `https_web`: PEM file with the roots that the certificate is checked with, in place of those of the system; read for each poll.',
      examples: ['/etc/waybill/partner-ca.pem'],
    }),
    spiffe_id: endpointId.optional().meta({
      description:
        'For `https_spiffe`: SPIFFE ID that the endpoint must show, of the trust domain itself or of another one of `trust.domains`.',
      examples: ['spiffe://partner.org/spire/server'],
    }),
    bootstrap: path.optional().meta({
      description:
        'For `https_spiffe`: file with a bundle of the trust domain (SPIFFE bundle document, or PEM), believed until the endpoint has answered. Required where `spiffe_id` is of the trust domain itself.',
      examples: ['/etc/waybill/partner-bundle.json'],
    }),
  })
  .readonly();

/** Where the keys of one trust domain come from. */
export const domainSource = z.union([
  z.enum(['workload_api', 'svid_dir']),
  z
    .strictObject({
      bundle_endpoint: bundleEndpoint.meta({
        description:
          'Bundle endpoint of the domain (SPIFFE Federation), asked as often as its refresh hint says, between 1 s and 1 h.',
        examples: [{ url: 'https://spiffe.partner.org/bundle', profile: 'https_web' }],
      }),
    })
    .readonly(),
  z
    .strictObject({
      bundle_file: path.meta({
        description: 'File with the bundle (SPIFFE bundle document, or PEM), read anew when it changes.',
        examples: ['/etc/waybill/partner-bundle.json'],
      }),
    })
    .readonly(),
]);

/** `workload_api` and `svid_dir` both mean: from where the identity comes. */
export type DomainSource = z.output<typeof domainSource>;
/** A bundle endpoint as it is written. */
export type BundleEndpointSettings = z.output<typeof bundleEndpoint>;
