import { z } from 'zod';
import { line, lineOrNothing, meantAsSpiffeId, path, workloadId } from './text.ts';

const notQuiteAnId =
  'looks like a SPIFFE ID and is no SPIFFE ID of a workload (spiffe://TRUST-DOMAIN/PATH): `revoke --agent` would take it for a slip';

/** Who stands beside this sidecar. Rules read it as `agent` and `environment`. */
export const agentTable = z
  .strictObject({
    // A name that a revocation is refused for as a slip would be one that nobody can revoke.
    name: line
      .refine((name) => !meantAsSpiffeId.test(name) || workloadId.test(name), { error: notQuiteAnId })
      .meta({
        description: 'Name of the agent beside this sidecar, as it stands in events and rules.',
        examples: ['invoice-bot'],
      }),
    owner: lineOrNothing.prefault('').meta({
      description: 'Person or team that answers for the agent.',
      examples: ['payments@example.org'],
    }),
    purpose: lineOrNothing.prefault('').meta({
      description: 'What the agent is for; the purpose of a task that names none.',
      examples: ['reconcile invoices'],
    }),
    environment: lineOrNothing.prefault('').meta({
      description: 'Where it runs; rules read it as `environment`.',
      examples: ['production'],
    }),
    // Read from /proc/net/tcp once per connection, without any capability. Where agent and sidecar share a uid, custody against a hostile agent is not promised (DESIGN 9).
    uid: z
      .int()
      .min(0)
      .max(4_294_967_294)
      .optional()
      .meta({
        description:
          'User id of the agent’s processes. Handles, traces and the standing task are then good on connections of this user only (`handle_foreign_peer`); agent and sidecar have to be in one network namespace, as in a pod. Linux only.',
        examples: [1000],
      }),
    // Read from /proc of the process that holds the connection: needs its pid namespace, and its user or CAP_SYS_PTRACE.
    executable: path
      // As the system names it: in any other spelling no process of the agent would be one, and each would be refused.
      .regex(/^(?:\/(?!\.{1,2}(?:\/|$))[^/]+)+$/, {
        error: 'must be an absolute path without "//", dot segments and a final slash, as the system names it',
      })
      .optional()
      .meta({
        description:
          'Executable that the agent’s processes run, as their own file system names it, without links. Handles, traces and the standing task are then good on connections of such processes only (`handle_foreign_peer`); the sidecar has to share their pid namespace, and be their user or have CAP_SYS_PTRACE. Linux only.',
        examples: ['/usr/bin/python3.13'],
      }),
  })
  .readonly()
  .meta({
    title: 'agent',
    description: 'The agent that this sidecar stands beside.',
    examples: [
      {
        name: 'invoice-bot',
        owner: 'payments@example.org',
        purpose: 'reconcile invoices',
        environment: 'production',
        uid: 1000,
      },
    ],
  });
