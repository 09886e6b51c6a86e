import { CommandFailure, exitCodes, parseArguments, type Command, type Invocation } from './command.ts';
import { callOperator, countIn, OperatorRefusal, readTextFile } from './operator-client.ts';
import { connection, findSidecar } from './sidecar-place.ts';
import { showOpened, showTasks } from './task-views.ts';

/** `waybill tasks`: what an orchestrator does, by hand. */
export const tasks: Command = {
  usage: `Usage: waybill tasks open --subject-token-file FILE [--purpose P] [--tools A,B] [--deadline 10m] [--handles per_tool]
                          [--uses N] [--uid N] [--pid N [--descendants]] [--executable PATH]
       waybill tasks list [--all]
       waybill tasks complete TXN [--reason R]
       waybill tasks fail TXN [--reason R]

"open" prints one line for a shell: eval "$(waybill tasks open --subject-token-file token)", and calls of that shell are calls of the task.

  --subject-token-file FILE   the token of the user for whom the task works
  --purpose P                 one of the purposes of the configuration, or any where it lists none; default: that of the agent
  --tools A,B                 only these of the purpose's tools
  --deadline 10m              a shorter life than the configuration gives
  --handles per_tool          one handle for each tool, good at that tool alone
  --uses N                    how many calls each handle is good for
  --uid N                     the user id of the processes that may use them; Linux only
  --pid N                     the process that may use them, as the sidecar sees it; Linux only
  --descendants               and those that descend from it
  --executable PATH           the executable of the processes that may use them; Linux only
  --subject-token-type URI    if it is no access token (RFC 8693, 3)
  --parent TXN                a task that this one ends with, and whose tools are the most it gets

Where the sidecar is: --config FILE (its operator.socket), --socket PATH, or --url URL with --token-file FILE;
default: ./waybill.yaml, else the default socket. --json prints the answer of the API. Exit code 69 if no sidecar answers.
`,
  async run(invocation) {
    const [action, ...args] = invocation.args;
    const actions = new Map([
      ['open', open],
      ['list', list],
      ['complete', end],
      ['fail', end],
    ]);
    const act = actions.get(action ?? '');
    if (act === undefined) throw new CommandFailure(exitCodes.usage, 'say open, list, complete or fail; see --help');
    const json = args.includes('--json');
    try {
      await act(invocation, args, action ?? '');
      return exitCodes.ok;
    } catch (error) {
      // Programs read the answer of the API, whatever it is.
      if (json && error instanceof OperatorRefusal) invocation.print(error.body.trim());
      throw error;
    }
  },
};

/** `tasks open`: the token goes from its file to the API and is never shown. */
async function open(invocation: Invocation, args: readonly string[]): Promise<void> {
  const { values } = parseArguments({
    args: [...args],
    options: {
      ...connection,
      'subject-token-file': { type: 'string' },
      'subject-token-type': { type: 'string' },
      purpose: { type: 'string' },
      tools: { type: 'string' },
      handles: { type: 'string' },
      deadline: { type: 'string' },
      uses: { type: 'string' },
      uid: { type: 'string' },
      pid: { type: 'string' },
      descendants: { type: 'boolean' },
      executable: { type: 'string' },
      parent: { type: 'string' },
    },
  });
  const file = values['subject-token-file'];
  if (file === undefined) throw new CommandFailure(exitCodes.usage, '--subject-token-file is missing');
  const order = {
    subject_token: readTextFile(file, '--subject-token-file').trim(),
    subject_token_type: values['subject-token-type'],
    purpose: values.purpose,
    // Names are checked by the API, which knows the configuration that really runs.
    tools: values.tools?.split(',').map((name) => name.trim()),
    handles: values.handles,
    deadline: values.deadline,
    uses: numberOf(values.uses),
    uid: numberOf(values.uid),
    peer: { pid: numberOf(values.pid), descendants: values.descendants, executable: values.executable },
    parent: values.parent,
  };
  const sidecar = findSidecar(values, invocation);
  const opened = await callOperator(sidecar.place, 'POST', '/v1/tasks', order);
  if (values.json) invocation.print(JSON.stringify(opened));
  else showOpened(opened, sidecar, invocation);
}

/** What is no number is refused by the API, as what it is. */
function numberOf(text: string | undefined): number | string | undefined {
  return text !== undefined && /^\d{1,10}$/.test(text) ? Number(text) : text;
}

/** `tasks list`: the API never tells handles, so neither does this. */
async function list(invocation: Invocation, args: readonly string[]): Promise<void> {
  const { values } = parseArguments({
    args: [...args],
    options: { ...connection, all: { type: 'boolean', default: false } },
  });
  const { place } = findSidecar(values, invocation);
  const answer = await callOperator(place, 'GET', values.all ? '/v1/tasks' : '/v1/tasks?state=open');
  if (values.json) invocation.print(JSON.stringify(answer));
  else showTasks(answer, invocation);
}

/** `tasks complete` and `tasks fail`. */
async function end(invocation: Invocation, args: readonly string[], action: string): Promise<void> {
  const { values, positionals } = parseArguments({
    args: [...args],
    options: { ...connection, reason: { type: 'string' } },
    allowPositionals: true,
  });
  const [txn, ...more] = positionals;
  if (txn === undefined || more.length > 0) {
    throw new CommandFailure(exitCodes.usage, `name one task: waybill tasks ${action} TXN`);
  }
  const { place } = findSidecar(values, invocation);
  const path = `/v1/tasks/${encodeURIComponent(txn)}/${action}`;
  const ended = await callOperator(place, 'POST', path, { reason: values.reason });
  const dropped = countIn(ended, 'credentials_dropped');
  const queued = countIn(ended, 'revocations_queued');
  if (values.json) invocation.print(JSON.stringify(ended));
  else invocation.print(`${txn} ${String(ended['state'])}: ${dropped} tokens dropped, ${queued} to be revoked`);
}
