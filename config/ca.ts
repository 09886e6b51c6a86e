import { z } from 'zod';
import { path } from './text.ts';

/** The folders of the pod's own CA. */
export const caTable = z
  .strictObject({
    dir: path.optional().meta({
      description:
        'Folder of `ca.key` (mode 0600) and `ca.pem`. Only the sidecar may read it; best on a memory volume.',
      examples: ['/run/waybill/ca'],
      'x-default': '`<run>/ca`',
    }),
    // A folder of its own: the agent mounts it, and must never see the one with the key.
    publish: path.optional().meta({
      description:
        'Folder for the agent: `ca.pem`, and `bundle.pem` (the roots of the system and ours). No other file or folder of the sidecar may be in it.',
      examples: ['/run/waybill/trust'],
      'x-default': '`<run>/trust`',
    }),
  })
  .readonly()
  .prefault({})
  .meta({
    title: 'ca',
    description: 'The CA of this pod, which lets the sidecar read the TLS of listed tools.',
    examples: [{ dir: '/run/waybill/ca', publish: '/run/waybill/trust' }],
  });
