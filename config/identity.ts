import { isIP } from 'node:net';
import { z } from 'zod';
import { line, path } from './text.ts';

const workloadApi = z.string().refine(isWorkloadApi, {
  error:
    'must be the address of a SPIFFE Workload API: unix:///path/of.sock or tcp://IP:PORT (SPIFFE Workload Endpoint, 4)',
});

/** A unix socket with an absolute path, or TCP to an IP address: the standard allows no names, user, query or fragment. */
function isWorkloadApi(text: string): boolean {
  if (/^unix:(?:\/\/)?\/[^/\s?#][^\s?#]*$/.test(text)) return true;
  const match = /^tcp:\/\/(?:\[(?<v6>[^\]]+)\]|(?<v4>[\d.]+)):(?<port>\d{1,5})$/.exec(text);
  const port = Number(match?.groups?.['port']);
  return isIP(match?.groups?.['v6'] ?? match?.groups?.['v4'] ?? '') !== 0 && port > 0 && port <= 65_535;
}

/** Where the workload's own SPIFFE identity comes from. */
export const identityTable = z
  .union([
    z.literal('none'),
    z
      .strictObject({
        workload_api: workloadApi.meta({
          description: 'Address of the SPIFFE Workload API that issues the identity of the agent.',
          examples: ['unix:///run/spire/agent.sock'],
        }),
        hint: line.optional().meta({
          description:
            'Hint of the SVID to use where the Workload API grants several; by default the first. While there is none with this hint there is no identity.',
          examples: ['main'],
        }),
      })
      .readonly(),
    z
      .strictObject({
        svid_dir: path.meta({
          description:
            'Folder with an SVID that somebody else keeps fresh: `svid.pem`, `svid_key.pem` and `svid_bundle.pem` of spiffe-helper, with `*.token` and `jwt_bundle.json`; or `tls.crt`, `tls.key` and `ca.crt` of cert-manager’s csi-driver-spiffe. Read anew when it changes.',
          examples: ['/var/run/secrets/spiffe.io'],
        }),
      })
      .readonly(),
    z
      .strictObject({
        kubernetes: z
          .strictObject({
            token_file: path.meta({
              description:
                'File with the projected token of the service account; its audience is the one service that it is for. Read at each use.',
              examples: ['/var/run/secrets/tokens/waybill'],
            }),
          })
          .readonly()
          .meta({
            description:
              'The service account of a Kubernetes pod, in place of a SPIFFE ID: for client authentication only. The chain and mTLS are then off.',
            examples: [{ token_file: '/var/run/secrets/tokens/waybill' }],
          }),
      })
      .readonly(),
  ])
  .prefault('none')
  .meta({
    title: 'identity',
    description:
      'Where the workload identity (SPIFFE) comes from. `none`: there is none; token services then know the sidecar by a client secret.',
    examples: [{ workload_api: 'unix:///run/spire/agent.sock' }],
  });

/** `none`, or one of the sources as it is written. */
export type IdentitySettings = z.output<typeof identityTable>;

/** Whether there is a SPIFFE identity: without, there are no SVIDs, no links of a chain and no mTLS. */
export function isSpiffe(identity: IdentitySettings): boolean {
  return identity !== 'none' && !('kubernetes' in identity);
}
