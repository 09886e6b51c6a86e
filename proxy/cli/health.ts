import { existsSync } from 'node:fs';
import { parseIpPort, type IpPort } from '../../config/addresses.ts';
import { loadSettingsFile } from '../../config/load.ts';
import type { Surroundings } from '../../config/paths.ts';
import { CommandFailure, exitCodes, jsonOption, parseArguments, type Command } from './command.ts';
import { configOption, defaultConfigFile } from './config-file.ts';
import { AnswerTooLong, exchangeHttp, NoAnswerInTime } from './http-exchange.ts';
import { parseObject } from './json-object.ts';
import { findOnlyRunning, findRunning } from './running-file.ts';

/** Health checks wait a few seconds themselves, and a sidecar that takes longer is not well. */
const withinMs = 3000;

/** What listens on all addresses is asked on loopback. */
const anyAddress: ReadonlyMap<string, string> = new Map([
  ['0.0.0.0', '127.0.0.1'],
  ['::', '::1'],
]);

/** `waybill health`: asks a running sidecar whether calls can pass. For health checks that run a command, as those of containers do. */
export const health: Command = {
  usage: `Usage: waybill health [--config FILE] [--json]

Asks the sidecar that was started with a configuration whether it is ready, at /readyz of its listen.health. Where it listens it left in
the run folder, so that the answer is about the sidecar and not about a file that it did not take; else the configuration is read.
Where no configuration is named and there is no ${defaultConfigFile}, the one sidecar of this user that runs is asked.

  --config FILE   the configuration; default: ${defaultConfigFile}
  --json          one JSON object, and nothing else: {status, missing}

Exit code 0 if calls can pass, 1 if not, or not any more (what is missing is shown), 69 if no sidecar answers within ${withinMs / 1000} s.
`,
  async run({ args, print, surroundings }) {
    const { values } = parseArguments({ args, options: { ...configOption, ...jsonOption } });
    const { address, port } = findHealth(values.config, surroundings);
    const host = anyAddress.get(address) ?? address;
    const url = new URL(`http://${host.includes(':') ? `[${host}]` : host}:${port}/readyz`);
    const { status, text } = await exchangeHttp({ url, withinMs }).catch((error: unknown) => {
      if (error instanceof NoAnswerInTime || error instanceof AnswerTooLong)
        throw new CommandFailure(exitCodes.unavailable, `what listens at ${url.host} ${error.message}`);
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'no answer';
      throw new CommandFailure(exitCodes.unavailable, `no sidecar answers at ${url.host} (${code})`);
    });
    if (values.json && parseObject(text)?.['missing'] === undefined)
      throw new CommandFailure(exitCodes.unavailable, `what listens at ${url.host} is no sidecar`);
    print(text.trim());
    return status === 200 ? exitCodes.ok : exitCodes.no;
  },
};

/** A sidecar goes on by its own configuration whatever becomes of the file: a reload that was refused makes no sidecar unwell. */
function findHealth(named: string | undefined, surroundings: Surroundings): IpPort {
  const file = named ?? defaultConfigFile;
  const isMeant = named !== undefined || existsSync(file);
  const word = findRunning(file, surroundings) ?? (isMeant ? undefined : findOnlyRunning(surroundings));
  const running = parseIpPort(word?.health ?? '');
  if (running !== undefined) return running;
  const { health: place } = loadSettingsFile(file).settings.listen;
  // One that runs picked a port, and left word of it.
  if (place.port === 0)
    throw new CommandFailure(
      exitCodes.unavailable,
      `no sidecar answers: none that was started with ${file} left word of its port`,
    );
  return place;
}
