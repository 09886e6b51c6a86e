import { flushCompileCache } from 'node:module';
import { constants } from 'node:os';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { ConfigErrors } from '../../config/config-errors.ts';
import { openProcessLog, type ProcessLog } from '../process-log.ts';
import { openSidecar, type Sidecar } from '../sidecar.ts';
import { agentEnvironmentOver } from './agent-environment.ts';
import { CommandFailure, exitCodes, parseArguments, type Command, type Invocation } from './command.ts';
import { configOption, defaultConfigFile, findPlaces, loadConfigFile, type CheckedConfig } from './config-file.ts';
import { refuseSharedRecord } from './record-apart.ts';
import { ConfigReload } from './reload.ts';
import { runAgent } from './run-agent.ts';
import { announceRunning } from './running-file.ts';

/** Longer than all that a closing sidecar waits for; then something hangs, and the process goes all the same. */
const closeWithinMs = 15_000;
const sharedUid =
  'agent and sidecar run as the same user: the agent can read the memory and files of the sidecar, so custody against a hostile agent is not promised';
const sharedCopy =
  'standard output has both the copy of the record and what the command prints, which may look like lines of it: believe record.file alone';

/** `waybill run`: the sidecar itself, in the foreground. */
export const run: Command = {
  usage: `Usage: waybill run [--config FILE] [-- COMMAND ARGUMENTS...]

Runs the sidecar until SIGTERM or SIGINT. A changed file is put in force at once, as at SIGHUP, if it is good and changes nothing that takes effect at a start only (config/settings.md marks it); tasks stay open. A record that was moved away (rotated) goes on in a new file, at SIGHUP at once, else within two seconds. Its log is on standard error, JSON lines; the line "ready" names the addresses.
With a COMMAND it starts that with the environment that leads it through the sidecar, hands SIGTERM, SIGINT, SIGHUP and SIGQUIT on to it, and ends when it ends, with its exit code. Then no changed file is taken.
The record must be a file then (record.file): the command writes to standard output and standard error, too.
This opens no task: the command gets as far as the standing task and tools without a token go. For a user: waybill tasks open.

  --config FILE   the configuration; default: ${defaultConfigFile}

Exit code 64 if the configuration is wrong (all errors are shown, and nothing listens), 69 if an address is taken or a disk is full.
`,
  async run(invocation) {
    const { own, agent } = split(invocation.args);
    const meant = 'a configuration is named with --config FILE, and a command stands behind --: waybill run -- COMMAND';
    const { values } = parseArguments({ args: own, options: configOption }, meant);
    const file = values.config ?? defaultConfigFile;
    const checked = loadConfigFile(file, invocation.surroundings);
    if (agent !== undefined) refuseSharedRecord(findPlaces(checked, invocation.surroundings).recordFile);
    // From here on there is a log, and nothing else goes to standard error.
    const log = openProcessLog();
    // Before it opens: a signal during the start must still close what was opened.
    // With a command, a hang-up is the end of its terminal, and Ctrl-\ comes from there. They stop like SIGTERM: a plain death would leave
    // tokens that nobody revokes.
    const stopped = hearStop(agent === undefined ? [] : ['SIGHUP', 'SIGQUIT']);
    let reload: ConfigReload | undefined;
    let sidecar: Sidecar | undefined;
    // During the start: files that the configuration names may have been read just before they were replaced.
    let isHungUp = false;
    if (agent === undefined) {
      process.on('SIGHUP', () => {
        isHungUp = true;
        // First, so that what comes of the reload stands in the new file.
        sidecar?.reopenRecord();
        reload?.now();
      });
    }
    sidecar = await openSidecar(checked.config, undefined, log).catch((error: unknown) => {
      throw failureOf(error);
    });
    // With NODE_COMPILE_CACHE, Node.js keeps what it compiled at a polite end only, which a sidecar seldom has.
    flushCompileCache();
    giveBackMemory();
    const withdraw = announceRunning(file, invocation.surroundings, sidecar.addresses);
    try {
      if (agent !== undefined) {
        // Whoever stopped us while we started would wait in vain for the end of a command that starts now. A start has few turns of the
        // loop, and a signal is heard at the end of one: the first of these sees it come, the second has heard it.
        await nextTurn();
        const early = await Promise.race([stopped, nextTurn()]);
        if (early !== undefined) return 128 + constants.signals[early];
        return await runBehind(sidecar, checked, agent, invocation, log);
      }
      if (checked.config.settings.agent.uid === invocation.surroundings.uid) log.warn(sharedUid);
      reload = new ConfigReload({ file, surroundings: invocation.surroundings }, checked.config.digest, sidecar, log);
      if (isHungUp) reload.now();
      await stopped;
      reload.close();
      return exitCodes.ok;
    } finally {
      withdraw();
      await Promise.race([sidecar.close(), sleep(closeWithinMs, undefined, { ref: false })]);
    }
  },
};

/**
 * What only the start needed goes back to the system: the young generation grew for it, and an idle process would never shrink it. Only
 * where Node.js was started with `--expose-gc`, as in the image; takes some ten milliseconds.
 */
function giveBackMemory(): void {
  globalThis.gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}

/** What stands before `--` is for us, all behind it for the agent, even if it looks like an option of ours. */
function split(args: readonly string[]): { own: string[]; agent: readonly [string, ...string[]] | undefined } {
  const end = args.indexOf('--');
  if (end < 0) return { own: [...args], agent: undefined };
  const [command, ...rest] = args.slice(end + 1);
  // Empty as of a variable that is not set.
  if (command === undefined || command === '')
    throw new CommandFailure(exitCodes.usage, 'a command is missing behind --');
  return { own: args.slice(0, end), agent: [command, ...rest] };
}

/** Resolves with the first signal to stop. Further ones change nothing: a terminal and a launcher may both send the same one. */
function hearStop(more: readonly NodeJS.Signals[]): Promise<NodeJS.Signals> {
  const { promise, resolve } = Promise.withResolvers<NodeJS.Signals>();
  for (const signal of ['SIGTERM', 'SIGINT', ...more] as const) process.on(signal, resolve);
  return promise;
}

/** The agent's environment is ours with proxy and trust added: on a laptop it needs the rest (PATH, HOME, a terminal). */
async function runBehind(
  sidecar: Sidecar,
  { config }: CheckedConfig,
  agent: readonly [string, ...string[]],
  { surroundings }: Invocation,
  log: ProcessLog,
): Promise<number> {
  log.warn(sharedUid);
  const { caPublish } = findPlaces({ config }, surroundings);
  // Before this, a record that is standard output alone was refused.
  if (config.settings.record.stdout) log.warn(sharedCopy);
  const proxy = `http://${sidecar.agentAddress}`;
  const own = agentEnvironmentOver(surroundings.env, { proxy, trustFolder: caPublish });
  return runAgent(agent, { ...surroundings.env, ...own });
}

/** Causes that a person can mend, told as such. The system's own words name a path or an address, and nothing secret. */
function failureOf(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof ConfigErrors) return error;
  const code = 'code' in error ? error.code : undefined;
  if (code === 'EADDRINUSE') {
    return new CommandFailure(
      exitCodes.unavailable,
      `an address is taken (${error.message}); does a sidecar run already?`,
    );
  }
  // Node.js has no name for the code of a quota.
  if (code === 'ENOSPC' || ('errno' in error && error.errno === -constants.errno.EDQUOT)) {
    return new CommandFailure(
      exitCodes.unavailable,
      `the sidecar cannot start: a disk is full (${error.message}); make room there`,
    );
  }
  // Rooms throw plain errors for settings that only the start can judge, such as a token file that is empty.
  // Every error that the system gives has a code; one without is our own, made for people.
  const isOurs = code === undefined && error.constructor === Error;
  const isPlace = /^E(?:ACCES|PERM|NOENT|EXIST|NOTDIR|ISDIR|ROFS|LOOP|NAMETOOLONG|ADDRNOTAVAIL)$/.test(String(code));
  return isOurs || isPlace ? new CommandFailure(exitCodes.usage, `the sidecar cannot start: ${error.message}`) : error;
}
