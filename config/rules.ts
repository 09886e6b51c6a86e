import { z } from 'zod';
import { line } from './text.ts';

/** One rule. That `when` is good CEL is checked by the room that compiles it; its place is found with `locate`. */
const rule = z
  .strictObject({
    name: line.meta({
      description: 'Name of the rule, used once; it stands in answers, events and metrics.',
      examples: ['crm-for-reconciling'],
    }),
    effect: z.enum(['allow', 'deny', 'require-approval']).meta({
      description: 'What the rule does where it matches: deny wins over require-approval, that over allow.',
      examples: ['allow'],
    }),
    when: z
      .string()
      .min(1)
      .max(8192)
      .meta({
        description:
          'Condition in CEL over `agent`, `subject`, `task`, `call`, `tool`, `environment` and `now`; `true` matches every call.',
        examples: ['call.tool == "crm" && task.purpose == "reconcile invoices"'],
      }),
    mode: z
      .enum(['enforce', 'observe'])
      .prefault('enforce')
      .meta({
        description: '`observe` only records what the rule would have done.',
        examples: ['observe'],
      }),
  })
  .readonly();

/** The rules. Their order has no meaning. */
export const rulesTable = z
  .array(rule)
  .max(1000)
  .readonly()
  .prefault([])
  .meta({
    title: 'rules',
    description:
      'Which calls are allowed. A call that no rule allows is denied; an error in a deny or require-approval rule denies.',
    examples: [
      [
        {
          name: 'crm-for-reconciling',
          effect: 'allow',
          when: 'call.tool == "crm" && task.purpose == "reconcile invoices"',
        },
        { name: 'docs-for-all', effect: 'allow', when: 'call.tool == "docs"' },
        { name: 'four-eyes', effect: 'require-approval', when: 'tool.risk in ["payment", "export"]' },
        { name: 'no-deleting', effect: 'deny', mode: 'observe', when: 'call.method == "DELETE"' },
      ],
    ],
  });
