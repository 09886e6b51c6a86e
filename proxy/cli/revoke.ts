import { CommandFailure, exitCodes, parseArguments, type Command, type Invocation } from './command.ts';
import { callOperator, countIn, OperatorRefusal } from './operator-client.ts';
import { connection, findSidecar } from './sidecar-place.ts';

const options = {
  ...connection,
  task: { type: 'string' },
  subject: { type: 'string' },
  issuer: { type: 'string' },
  agent: { type: 'string' },
  tool: { type: 'string' },
  all: { type: 'boolean', default: false },
  reason: { type: 'string' },
} as const;

/** `waybill revoke`: the kill switch, by hand. */
export const revoke: Command = {
  usage: `Usage: waybill revoke --task TXN --reason R
       waybill revoke --subject SUB --issuer URL --reason R
       waybill revoke --agent SPIFFE_ID --reason R
       waybill revoke --tool NAME --reason R
       waybill revoke --all --reason R

Takes out at once what is named, on this sidecar, and on the others of its fleet (fleet.store) within fleet.max_silence:

  --task      this task ends, as "revoked": its calls under way are cut, its tokens go back, its handle is over
  --subject   all tasks of this user; --issuer is that of the user's tokens, and empty for a workload that is its own subject
  --agent     all tasks in which this workload has a hand: as the agent here, as caller, in the chain, as actor of the token
  --tool      the credentials of this tool, in all tasks; the tasks go on without it
  --all       all tasks

For all but --task, tokens that were issued before are no good afterwards: they open no task, and get no credential of that tool, also
after a restart. A token that is issued later is good again. The standing task has none: with a new key in its file, it gets a tool back
only if the revocation is lifted. To lift one there is no other way but to stop the sidecar and remove its file (operator.revocations).

Where the sidecar is: --config FILE (its operator.socket), --socket PATH, or --url URL with --token-file FILE (role operator);
default: ./waybill.yaml, else the default socket. --json prints the answer of the API. Exit code 69 if no sidecar answers.
A revocation that the store of the fleet does not have yet is done here and told on standard error; the exit code is 0.
`,
  async run(invocation) {
    const { values } = parseArguments({ args: [...invocation.args], options });
    const order = { ...principalOf(values), reason: values.reason };
    if (order.reason === undefined) throw new CommandFailure(exitCodes.usage, '--reason is missing');
    if (order.reason === '')
      throw new CommandFailure(exitCodes.usage, '--reason is empty; say why, for whoever reads the record');
    const { place } = findSidecar(values, invocation);
    try {
      const revoked = await callOperator(place, 'POST', '/v1/revoke', order);
      show(revoked, values.json, invocation);
      if (revoked['issuer'] === 'unknown') adviseOnIssuer(values.issuer, invocation);
      if (countIn(revoked, 'tasks') === 0) adviseOnName(values.agent, invocation);
      return exitCodes.ok;
    } catch (error) {
      if (values.json && error instanceof OperatorRefusal) invocation.print(error.body.trim());
      throw error;
    }
  },
};

/** Exactly one: the API would refuse two, and a person should hear of it before anything is sent. */
function principalOf(values: {
  readonly task?: string | undefined;
  readonly subject?: string | undefined;
  readonly issuer?: string | undefined;
  readonly agent?: string | undefined;
  readonly tool?: string | undefined;
  readonly all: boolean;
}): object {
  const { task, subject, issuer, agent, tool, all } = values;
  const named = [task, subject, agent, tool, all ? 'all' : undefined].filter((value) => value !== undefined);
  if (named.length !== 1)
    throw new CommandFailure(exitCodes.usage, 'say one of --task, --subject, --agent, --tool and --all');
  if ((subject === undefined) !== (issuer === undefined))
    throw new CommandFailure(
      exitCodes.usage,
      '--subject and --issuer belong together: a name means something to its issuer only',
    );
  if (subject !== undefined) return { subject: { iss: issuer, sub: subject } };
  return all ? { all } : { task, agent, tool };
}

function show(revoked: Readonly<Record<string, unknown>>, json: boolean, { print, tell }: Invocation): void {
  const tasks = countIn(revoked, 'tasks');
  const credentials = countIn(revoked, 'credentials');
  if (json) print(JSON.stringify(revoked));
  else print(`revoked: ${tasks} tasks ended, ${credentials} credentials taken back`);
  if (revoked['fleet'] === 'pending')
    tell(
      'waybill revoke: done on this sidecar, and not yet in the store of the fleet; the others hear of it when the store answers this one',
    );
}

/** A slip in the issuer must not look like a hit. Done all the same: the first link of a chain may name one that no configuration does. */
function adviseOnIssuer(issuer = '', { tell }: Invocation): void {
  tell(
    `waybill revoke: no open task ended, and no issuer ${issuer} is known to this sidecar; --issuer is "iss" of the user's tokens, to the letter, as "waybill inventory" shows it`,
  );
}

/** A SPIFFE ID without its beginning is a name like any other, and may be one that an issuer gave: done, but it must not look like a hit. */
function adviseOnName(agent: string | undefined, { tell }: Invocation): void {
  if (agent === undefined || !agent.includes('/') || agent.startsWith('spiffe://')) return;
  tell(
    'waybill revoke: no open task ended, and the name is no SPIFFE ID; if a workload is meant that has one: --agent spiffe://TRUST-DOMAIN/PATH',
  );
}
