import { z } from 'zod';
import { agentTable } from './agent.ts';
import { caTable } from './ca.ts';
import { dnsTable } from './dns.ts';
import { fleetTable } from './fleet.ts';
import { identityTable } from './identity.ts';
import { inboundTable, settleInbound } from './inbound.ts';
import { listenTable } from './listen.ts';
import { operatorTable } from './operator.ts';
import { purposesTable } from './purposes.ts';
import { recordTable } from './record.ts';
import { replayTable } from './replay.ts';
import { rulesTable } from './rules.ts';
import { signalsTable } from './signals.ts';
import { tasksTable } from './tasks.ts';
import { tokenServicesTable } from './token-services.ts';
import { toolsTable } from './tools.ts';
import { trustTable } from './trust.ts';

/**
 * The tables of all rooms, joined: the one source of the types, the parser, the JSON schema, `settings.md` and the example.
 * Keys keep their YAML names; durations are numbers of milliseconds; named entries are maps in the order of the file.
 */
export const settingsSchema = z
  .strictObject({
    version: z.literal(1).meta({
      title: 'version',
      description: 'Version of this file’s format.',
      examples: [1],
    }),
    agent: agentTable,
    identity: identityTable,
    trust: trustTable,
    token_services: tokenServicesTable,
    tools: toolsTable,
    rules: rulesTable,
    inbound: inboundTable,
    purposes: purposesTable,
    tasks: tasksTable,
    replay: replayTable,
    dns: dnsTable,
    ca: caTable,
    operator: operatorTable,
    fleet: fleetTable,
    signals: signalsTable,
    listen: listenTable,
    record: recordTable,
  })
  .transform((settings) =>
    Object.freeze({
      ...settings,
      inbound: settings.inbound === undefined ? undefined : settleInbound(settings.inbound, settings.identity),
    }),
  )
  .meta({ title: 'waybill.yaml', description: 'The configuration of a Waybill sidecar.' });

/** The whole configuration, checked and with every default filled in. */
export type Settings = z.output<typeof settingsSchema>;
