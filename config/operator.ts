import { z } from 'zod';
import { listenAddress } from './addresses.ts';
import { path } from './text.ts';

/** One role, one file: a token that two roles share would give the greater of both (W10). */
const tokenFile = (may: string, role: string) =>
  path.optional().meta({
    description: `File with the bearer token of role \`${role}\`, which may ${may}.`,
    examples: [`/run/secrets/${role}`],
  });

/** What Linux takes for the path of a socket; a longer one would be refused at the start only. */
const socketBytes = 107;

/** Where people and orchestrators speak to the sidecar; never the agent. */
export const operatorTable = z
  .strictObject({
    socket: path
      .refine((name) => Buffer.byteLength(name) <= socketBytes, {
        error: `must be a path of at most ${socketBytes} bytes, as sockets have`,
      })
      .optional()
      .meta({
        description: `Unix socket of the API, a path of at most ${socketBytes} bytes; whoever can open it has every role.`,
        examples: ['/run/waybill/operator.sock'],
        'x-default': '`<run>/operator.sock`',
      }),
    listen: listenAddress.prefault('127.0.0.1:15000').meta({
      description:
        'Address of the API over plain HTTP; used only if `tokens` names a file. Not on loopback it is an unsafe setting: anybody on the path can read the tokens.',
      examples: ['127.0.0.1:15000'],
    }),
    revocations: path.optional().meta({
      description:
        'File that keeps revocations over a restart (mode 0600); a sidecar that cannot read it does not start. Sidecars that share it keep what the others wrote, and take it over when they start.',
      examples: ['/var/lib/waybill/revocations.json'],
      'x-default': '`revocations.json` beside the record where that is a file, else in `<state>`',
    }),
    tokens: z
      .strictObject({
        reader: tokenFile('read', 'reader'),
        orchestrator: tokenFile('open and end tasks', 'orchestrator'),
        approver: tokenFile('approve', 'approver'),
        operator: tokenFile('do everything', 'operator'),
      })
      .readonly()
      .prefault({})
      .meta({ description: 'Files with bearer tokens, one for each role.' }),
  })
  .readonly()
  .prefault({})
  .meta({
    title: 'operator',
    description: 'The operator’s API, which opens tasks, revokes and shows what happens. The agent cannot reach it.',
    examples: [{ listen: '127.0.0.1:15000', tokens: { orchestrator: '/run/secrets/orchestrator' } }],
  });

/** `socket` that was left out is filled in by `resolvePaths`; roles without a file have no token. */
export type OperatorSettings = z.output<typeof operatorTable>;
