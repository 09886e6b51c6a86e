import { isIP } from 'node:net';
import { z } from 'zod';

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

/** `none`, or the address of the Workload API as it is written. */
export type IdentitySettings = z.output<typeof identityTable>;
