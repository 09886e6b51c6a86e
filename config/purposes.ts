import { z } from 'zod';
import { risk } from './risks.ts';
import { asMap, identifier, line } from './text.ts';

/** What a task of one purpose may use at most. */
const purpose = z
  .strictObject({
    tools: z
      .array(identifier)
      .max(1000)
      .readonly()
      .meta({ description: 'Tools that a task of this purpose may use at most.', examples: [['crm']] }),
    risk: risk.optional().meta({
      description:
        'Highest risk of a tool that a task of this purpose may use (read < write < deploy < payment < export).',
      examples: ['write'],
      'x-default': 'that of its tools',
    }),
  })
  .readonly();

/** The purposes, by name. */
export const purposesTable = z
  .record(line, purpose)
  .prefault({})
  .transform(asMap)
  .meta({
    title: 'purposes',
    description:
      'What a task of a purpose may use at most, by the name of the purpose. With none listed, a task that an orchestrator opens may have any purpose, and every tool; the agent itself opens none.',
    examples: [{ 'reconcile invoices': { tools: ['crm', 'docs'], risk: 'write' } }],
  });
