import { CommandFailure, exitCodes, jsonOption, parseArguments, type Command, type Invocation } from './command.ts';
import { describeSubjectToken } from './demo/claims.ts';
import { filesOf, names, urlOf } from './demo/config.ts';
import { placeOf, sourceOf } from './demo/own-files.ts';
import { Narration } from './demo/narration.ts';
import { openStage, type Stage } from './demo/stage.ts';
import { openTask, StepFailure, type DemoTask, type Step } from './demo/step.ts';
import { steps } from './demo/steps.ts';
import { decodeClaims } from './demo/tool-front.ts';
import { sumReplaysBlocked } from './demo/witness.ts';

/** What became of a step, as `--ci` prints it. */
interface StepResult {
  readonly name: Step['name'];
  readonly ok: boolean;
  readonly detail: Readonly<Record<string, unknown>>;
}

/** `waybill demo`: a whole task on real parts, on this machine. */
export const demo: Command = {
  usage: `Usage: waybill demo [--ci | --json | --keep]

Starts an agent, its sidecar, three tools, a token service and a SPIFFE Workload API on loopback, and shows what happens to the
agent's calls: exchanged, cached, refused, a stolen handle stopped, everything taken back at the end. Then a user calls a planner, that
a worker, that a tool, each behind a sidecar of its own, and a thief tries what crossed the wire. Leaves nothing behind.

  --ci     the last line is one JSON object: {ok, steps, replays_blocked}; the last of these counts by reason, over all sidecars.
           Where the demo broke off outside of a step, it has "why" as well
  --json   that line alone
  --keep   goes on running afterwards, with a new task to try things in, until Ctrl-C

Exit code 1 if a step did not show what it was to show, or nobody was there any more to see it.
`,
  async run(invocation) {
    const { values } = parseArguments({
      args: [...invocation.args],
      options: { ...jsonOption, ci: { type: 'boolean', default: false }, keep: { type: 'boolean', default: false } },
    });
    const narration = new Narration(values.json ? () => undefined : invocation.print, invocation.colour);
    const interrupted = hearStop(invocation);
    // Filled as the steps end, so that an interruption or failure leaves those before it.
    const results: StepResult[] = [];
    const report = (end: DemoEnd): void => {
      if (!values.ci && !values.json) return;
      if (!values.json) invocation.print('');
      invocation.print(
        JSON.stringify({ ok: end.ok, steps: results, replays_blocked: end.replays ?? {}, why: end.why }),
      );
    };
    // Whatever ends the demo, its parts are closed in the reverse order of their opening.
    await using stack = new AsyncDisposableStack();
    introduce(narration);
    try {
      const stage = await openStage(stack, invocation.surroundings).catch((error: unknown) => {
        narration.cross('The parts do not start.');
        throw error;
      });
      const ended = await Promise.race([play(stage, narration, results), interrupted]);
      if (ended !== 'played') {
        narration.end();
        report({ ok: false, why: 'interrupted' });
        return exitCodes.no;
      }
      const ok = results.length === steps.length && results.every((result) => result.ok);
      if (ok) conclude(narration, values.keep);
      if (ok && values.keep && (await keepOpen(stage, narration, interrupted)) === 'left') return exitCodes.no;
      report({ ok, replays: await sumReplaysBlocked(await metricsOf(stage)).catch(() => ({})) });
      return ok ? exitCodes.ok : exitCodes.no;
    } catch (error) {
      // Who reads the last line gets one also where no step could be played.
      const why = error instanceof Error ? error.message : 'unknown cause';
      report({ ok: false, why });
      throw new CommandFailure(exitCodes.no, why);
    }
  },
};

/** What the last line says beside the steps. */
interface DemoEnd {
  readonly ok: boolean;
  readonly replays?: Readonly<Record<string, number>>;
  /** Why the demo broke off outside of a step. */
  readonly why?: string;
}

/** How a demo is stopped: by who reads it, or because nobody does any more (a closed terminal, `| head`). */
type Stop = 'ended' | 'left';

/** Resolves at Ctrl-C, and when the reader is gone. What was opened is closed then as at any other end: keys of CAs lie in its folder. */
function hearStop({ hearUnwritten }: Invocation): Promise<Stop> {
  const { promise, resolve } = Promise.withResolvers<Stop>();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => resolve('ended'));
  process.on('SIGHUP', () => resolve('left'));
  hearUnwritten(() => resolve('left'));
  return promise;
}

/** Says what is shown before anything runs: the start of the parts takes a second. */
function introduce(narration: Narration): void {
  narration.title('Waybill demo: one task of one agent, then a chain of agents, and a thief');
  narration.say(
    `An agent reconciles invoices for ${nameOf(names.user)}. It holds no token, and its code knows nothing of tokens; the sidecar beside it does the rest. All parts are real, and all of them run on this machine only.`,
  );
  narration.show(
    '',
    'agent ─────────▶ sidecar ─────────▶ crm, tickets, payroll',
    '  plain fetch,    │   │    token for one tool and one task,',
    '  a task handle   │   │    and a proof for each request',
    '                  │   └──▶ token service        RFC 8693 exchange, DPoP',
    '                  └──────▶ SPIFFE Workload API  who the agent is',
    '',
  );
  narration.say('Then agents call agents, and a thief has everything that crossed the wire (steps 6 to 10).');
}

/** Plays the steps until one fails; those behind it would fail for the same reason and hide it. */
async function play(stage: Stage, narration: Narration, results: StepResult[]): Promise<'played'> {
  const { sidecar } = stage;
  narration.tick(
    `Everything runs; the sidecar is process ${sidecar.pid} and listens on ${sidecar.addresses.outbound}.`,
  );
  const task = await openTask(stage, 'task');
  tellOfTask(stage, narration, task);
  for (const { name, play: playStep } of steps) {
    try {
      results.push({ name, ok: true, detail: await playStep({ stage, narration, task }) });
    } catch (error) {
      // Messages of steps are written for people; none of them quotes a token.
      const why = error instanceof Error ? error.message : 'unknown cause';
      narration.cross(error instanceof StepFailure ? `Not as it should be: ${why}.` : `The step broke off: ${why}`);
      narration.show('', 'The end of the sidecar’s log:', ...sidecar.log().trimEnd().split('\n').slice(-10));
      results.push({ name, ok: false, detail: { why } });
      break;
    }
  }
  return 'played';
}

/** Where the sidecars count; those of the chain are there if it opened. */
async function metricsOf({ sidecar, chain }: Stage): Promise<readonly string[]> {
  const hops = await chain.then(
    (opened) => Object.values(opened.hops),
    () => [],
  );
  return [sidecar, ...hops.map((hop) => hop.sidecar)].map(({ addresses }) => addresses.metrics);
}

/** Shows what the task was opened with, so that the reader can compare it with what a tool gets later. */
function tellOfTask(stage: Stage, narration: Narration, task: DemoTask): void {
  narration.title('The task');
  narration.say(
    `${nameOf(names.user)} has signed in. Whoever hands out work (an orchestrator) opens a task with her token, which says:`,
  );
  narration.claims(describeSubjectToken(decodeClaims(stage.subjectToken.reveal())));
  narration.tick(`Task ${task.txn} may use ${task.tools.join(' and ')}, to ${names.purpose}.`);
  narration.say(
    'The agent gets a proxy URL with a handle of this task, and the CA of the sidecar, in its environment (HTTPS_PROXY, NODE_EXTRA_CA_CERTS). That is all that it ever holds.',
  );
}

/** Where to go from here, by files that are there: a package has others than a clone. */
function conclude(narration: Narration, isKept: boolean): void {
  narration.title('What to try next');
  narration.claims([
    ['your own tool', `${placeOf('README.md')}, “Your own tool and token service”: fifteen lines of configuration`],
    ['the agent', `${sourceOf('proxy/embedded/demo-agent.ts')}: there really is no more to it`],
    [
      'the way of a call',
      `${sourceOf('proxy/egress.ts')}, and in front of a tool ${sourceOf('proxy/ingress.ts')}: one function each, top to bottom`,
    ],
    ['a configuration', `npx waybill validate --config ${placeOf('config/examples/waybill.yaml')}`],
    ...(isKept ? [] : ([['these parts, kept open', 'npx waybill demo --keep']] as const)),
  ]);
}

/** Leaves the parts running for the reader, in a task of their own. */
async function keepOpen(stage: Stage, narration: Narration, stopped: Promise<Stop>): Promise<Stop> {
  const task = await openTask(stage, 'task');
  const files = filesOf(stage.folder);
  narration.title('Still running, until Ctrl-C');
  narration.say('A call in a new task; try another host, another method, or another handle:');
  narration.show(`curl --proxy ${task.proxy} --cacert ${files.trust}/ca.pem ${urlOf('crm')}`);
  narration.say('What is recorded and counted, which tasks there are, and the end of this one:');
  narration.show(
    `tail -f ${files.record}`,
    `curl http://${stage.sidecar.addresses.metrics}/metrics`,
    `npx waybill tasks list --socket ${files.operatorSocket}`,
    `npx waybill tasks complete ${task.txn} --socket ${files.operatorSocket}`,
  );
  return stopped;
}

/** A user's name as a sentence has it. */
function nameOf(sub: string): string {
  return sub.slice(0, 1).toUpperCase() + sub.slice(1);
}
