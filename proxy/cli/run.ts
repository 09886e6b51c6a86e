import { setTimeout as sleep } from 'node:timers/promises';
import { openSidecar, type Sidecar } from '../sidecar.ts';
import { CommandFailure, exitCodes, parseArguments, type Command, type Invocation } from './command.ts';
import { configOption, defaultConfigFile, findPlaces, loadConfigFile, type CheckedConfig } from './config-file.ts';
import { runAgent } from './run-agent.ts';

/** Longer than any part of the sidecar waits when it closes; then something hangs. */
const closeWithinMs = 15_000;

/** `waybill run`: the sidecar itself, in the foreground. */
export const run: Command = {
  usage: `Usage: waybill run [--config FILE] [-- COMMAND ARGUMENTS...]

Runs the sidecar until SIGTERM or SIGINT. Its log is on standard error, JSON lines; the line "ready" names the addresses.
With a COMMAND it starts that with the environment which leads it through the sidecar, and ends when it ends, with its exit code.
That opens no task: the command gets as far as the standing task and tools without a token go. For a user, see "waybill tasks open".

  --config FILE   the configuration; default: ${defaultConfigFile}

Exit code 64 if the configuration is wrong (all errors are shown, and nothing listens), 69 if an address is taken.
`,
  async run(invocation) {
    const { options, agent } = split(invocation.args);
    const { values } = parseArguments({ args: [...options], options: configOption });
    const checked = loadConfigFile(values.config ?? defaultConfigFile);
    const interrupted = hearSignals();
    const sidecar = await openSidecar(checked.config).catch((error: unknown) => {
      throw failureOf(error);
    });
    const exitCode = agent === undefined ? exitCodes.ok : runAgentBehind(sidecar, checked, agent, invocation);
    const ended = await Promise.race([interrupted, Promise.resolve(exitCode).then(async (code) => ended_(agent, code))]);
    await Promise.race([sidecar.close(), sleep(closeWithinMs, undefined, { ref: false })]);
    return ended;
  },
};
