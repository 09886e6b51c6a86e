import { z } from 'zod';
import { duration } from './durations.ts';
import { risk } from './risks.ts';
import { identifier, line } from './text.ts';

/** Off by default: with it, a call that names no task may still be one of the agent itself. */
const standing = z.union([
  z.literal('off'),
  z
    .strictObject({
      purpose: line.meta({
        description: 'Purpose of the standing task.',
        examples: ['keep the catalogue fresh'],
      }),
      tools: z
        .array(identifier)
        .min(1)
        .max(1000)
        .readonly()
        .meta({
          description: 'Tools it may use; each must be `on_behalf_of: agent` or `any`, or have no `token`.',
          examples: [['catalogue']],
        }),
    })
    .readonly(),
]);

/** How long tasks live, and whether the agent may act for itself. */
export const tasksTable = z
  .strictObject({
    mode: z
      .enum(['request', 'detached'])
      .prefault('request')
      .meta({
        description:
          'When a task ends that a request on the way in opened: `request`, when that request is answered and `linger` has passed; `detached`, when it is completed or reaches its deadline, for agents that answer at once and work on. Tasks opened through the operator’s API are always detached.',
        examples: ['request'],
      }),
    linger: duration({ min: '0s', max: '5m' })
      .prefault('2s')
      .meta({
        description:
          'How long a task of `mode: request` may still be used after its request is answered, for calls that the agent makes late. Then its handles are refused and its tokens revoked.',
        examples: ['2s'],
      }),
    deadline: duration({ min: '1s', max: '24h' })
      .prefault('15m')
      .meta({
        description:
          'Longest life of a task; who opens one may ask for less. A task that came with a delegation chain ends no later than the chain.',
        examples: ['15m'],
      }),
    standing: standing.prefault('off').meta({
      description: 'The task in which the agent acts for itself, without a user; `off`: there is none.',
      examples: ['off', { purpose: 'keep the catalogue fresh', tools: ['catalogue'] }],
    }),
    // Stores of traces see the mark of a task, so it is never good for more than it has to be.
    trace_rung: z
      .union([z.literal('off'), risk])
      .prefault('read')
      .meta({
        description:
          'Up to which risk of a tool a call may say by its trace for which task it is made: the way in puts the member `waybill` into `tracestate` of each request, OpenTelemetry carries it to the calls that belong to it, and the way out takes it from loopback only and removes it. `off`: nothing is put in, and only handles count.',
        examples: ['read', 'write', 'off'],
      }),
    // Trust on first use: a thief who is first is found out by the refusal of the rightful process.
    bind: z
      .enum(['none', 'uid', 'process', 'process_tree'])
      .prefault('none')
      .meta({
        description:
          'To what the first connection that names a task binds it: the user id, the process (by pid, start and executable), or `process_tree`, that process and those that descend from it; a task that the agent opens itself is bound to the process that opens it. Others are then refused (`handle_foreign_peer`), and so is whoever cannot be told: for processes the sidecar has to share their pid namespace, and be their user or have CAP_SYS_PTRACE. Linux only.',
        examples: ['process'],
      }),
    // Bounded, so that an orchestrator in a loop cannot fill the memory.
    max_open: z
      .int()
      .min(1)
      .max(1_000_000)
      .prefault(10_000)
      .meta({
        description: 'How many tasks may be open at once; more are refused.',
        examples: [1000],
      }),
  })
  .readonly()
  .prefault({})
  .meta({
    title: 'tasks',
    description: 'How long tasks live, and whether the agent may act for itself.',
    examples: [{ mode: 'request', linger: '2s', deadline: '15m', standing: 'off', trace_rung: 'read' }],
  });
