import { loadSettingsFile } from '../../config/load.ts';
import { CommandFailure, exitCodes, parseArguments, type Command } from './command.ts';
import { configOption, defaultConfigFile } from './config-file.ts';
import { exchangeHttp } from './http-exchange.ts';

/** What listens on all addresses is asked on loopback. */
const anyAddress: ReadonlyMap<string, string> = new Map([
  ['0.0.0.0', '127.0.0.1'],
  ['::', '::1'],
]);

/** `waybill health`: asks a running sidecar whether calls can pass. For health checks that run a command, as those of containers do. */
export const health: Command = {
  usage: `Usage: waybill health [--config FILE]

Asks the sidecar of a configuration whether it is ready, at /readyz of its listen.health.

  --config FILE   the configuration; default: ${defaultConfigFile}

Exit code 0 if calls can pass, 1 if not yet (what is missing is shown), 69 if no sidecar answers.
`,
  async run({ args, print }) {
    const { values } = parseArguments({ args, options: configOption });
    const { address, port } = loadSettingsFile(values.config ?? defaultConfigFile).settings.listen.health;
    if (port === 0) throw new CommandFailure(exitCodes.usage, 'listen.health has no fixed port');
    const host = anyAddress.get(address) ?? address;
    const url = new URL(`http://${host.includes(':') ? `[${host}]` : host}:${port}/readyz`);
    const { status, text } = await exchangeHttp({ url }).catch((error: unknown) => {
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'no answer';
      throw new CommandFailure(exitCodes.unavailable, `no sidecar answers at ${url.host} (${code})`);
    });
    print(text.trim());
    return status === 200 ? exitCodes.ok : exitCodes.no;
  },
};
