import { ConfigErrors, formatPath } from '../../config/config-errors.ts';
import type { InboundSettings } from '../../config/inbound.ts';
import type { Settings } from '../../config/settings.ts';
import type { ToolSettings } from '../../config/tools.ts';
import { listUnsafe } from '../../config/unsafe.ts';
import { findWarnings } from '../../config/warnings.ts';
import { exitCodes, jsonOption, parseArguments, type Command, type Invocation } from './command.ts';
import { configOption, defaultConfigFile, loadConfigFile, type CheckedConfig } from './config-file.ts';
import { formatTable } from './table.ts';

/** `waybill validate`: what `run` would say of a configuration, and what it would do with it. Opens nothing. */
export const validate: Command = {
  usage: `Usage: waybill validate [--config FILE] [--json]

Checks a configuration: its form, its meaning and its rules. Shows all errors with line and column, then warnings and unsafe settings.

  --config FILE   the configuration; default: ${defaultConfigFile}
  --json          one JSON object: {ok, file, errors, warnings, unsafe, …}

Exit code 64 if there are errors; warnings are no errors.
`,
  async run(invocation) {
    const { values } = parseArguments({ args: [...invocation.args], options: { ...configOption, ...jsonOption } });
    try {
      const checked = loadConfigFile(values.config ?? defaultConfigFile, invocation.surroundings);
      if (values.json) invocation.print(JSON.stringify(describe(checked)));
      else show(checked, invocation);
      return exitCodes.ok;
    } catch (error) {
      if (!(error instanceof ConfigErrors)) throw error;
      const { fileName, errors, more } = error;
      const count = errors.length + more;
      // Programs find the errors where they find the rest; people see them where errors belong.
      if (values.json)
        invocation.print(JSON.stringify({ ok: false, file: fileName, errors, ...(more > 0 && { more }) }));
      else invocation.tell(`${error.message}\n${count} ${count === 1 ? 'error' : 'errors'}`);
      return exitCodes.usage;
    }
  },
};

/** What `--json` prints of a good configuration. */
function describe({ config, rules }: CheckedConfig): object {
  const { settings } = config;
  return {
    ok: true,
    file: config.fileName,
    digest: config.digest,
    errors: [],
    warnings: listWarnings({ config, rules }),
    unsafe: listUnsafe(settings),
    agent: settings.agent.name,
    identity: identityOf(settings),
    token_services: [...settings.token_services.values()].map(({ name, issuer, client_auth }) => ({
      name,
      issuer,
      client_auth,
    })),
    tools: [...settings.tools.values()].map((tool) => ({
      name: tool.name,
      host: tool.match.host,
      from: tool.token?.from.length === 1 ? tool.token.from[0] : tool.token?.from,
      secret: tool.secret?.in,
      proof: tool.token?.proof,
      risk: tool.risk,
      on_behalf_of: tool.on_behalf_of,
    })),
    inbound: settings.inbound === undefined ? null : describeInbound(settings.inbound),
    purposes: [...settings.purposes.keys()],
    rules: settings.rules.map(({ name, effect, mode }) => ({ name, effect, mode })),
  };
}

/** The way in: who is let in by what, and what the program behind sees. */
function describeInbound({
  origin,
  resource,
  accept,
  callers,
  chain,
  program,
  present,
  forward_to: to,
}: InboundSettings) {
  return {
    origin,
    resource,
    accept: accept.map((entry) => ({
      from: 'issuer' in entry ? entry.issuer : entry.trust_domain,
      proof: entry.proof ?? 'none',
    })),
    callers: (callers ?? []).map(({ id, below }) => (below ? `${id}/**` : id)),
    chain_required: chain.require,
    program,
    present,
    forward_to: to.origin,
  };
}

/** The same for people: what the sidecar would be, then what is doubtful. */
function show(checked: CheckedConfig, { print }: Invocation): void {
  const { config } = checked;
  const { settings } = config;
  print(`${config.fileName} is good (digest ${config.digest.slice(0, 16)})\n`);
  const { agent } = settings;
  print(`agent      ${[agent.name, agent.owner && `of ${agent.owner}`].filter((part) => part !== '').join(' ')}`);
  print(`identity   ${identityOf(settings)}`);
  const services = [...settings.token_services.values()].map((one) => [one.name, one.issuer, one.client_auth]);
  print(section('services', services));
  print(section('tools', [...settings.tools.values()].map(rowOf)));
  print(section('way in', settings.inbound === undefined ? [] : inboundRows(settings.inbound)));
  print(
    section(
      'purposes',
      [...settings.purposes.values()].map(({ name, tools }) => [name, tools.join(', ')]),
    ),
  );
  print(
    section(
      'rules',
      settings.rules.map(({ name, effect, mode }) => [name, mode === 'observe' ? `${effect} (only observed)` : effect]),
    ),
  );
  const warnings = listWarnings(checked);
  if (warnings.length > 0) print(`\n${warnings.map((warning) => `warning: ${warning}`).join('\n')}`);
  const unsafe = listUnsafe(settings);
  if (unsafe.length > 0) print(`\n${unsafe.map((setting) => `unsafe: ${setting}`).join('\n')}`);
}

/** A tool in one line: which calls are its calls, what they carry, and how grave they are. */
function rowOf(tool: ToolSettings): readonly string[] {
  const { host, port, methods, paths } = tool.match;
  const place = `${methods?.join(',') ?? 'any method'} ${host}${port === undefined ? '' : `:${port}`}${paths?.join(' ') ?? ''}`;
  const { token, secret } = tool;
  const carried = secret === undefined ? 'no token' : `static secret, in ${secret.in}`;
  const obtained = token === undefined ? carried : `${token.from.join(' or ')}, proof ${token.proof}`;
  return [tool.name, place, obtained, tool.risk];
}

/** The way in for people: where it leads, and what a request needs. */
function inboundRows(inbound: InboundSettings): readonly (readonly string[])[] {
  const {
    origin,
    accept,
    callers,
    chain_required: chained,
    program,
    present,
    forward_to: to,
  } = describeInbound(inbound);
  return [
    ['origin', origin],
    ...accept.map(({ from, proof }) => ['accept', `${from}, proof ${proof}`]),
    ['callers', callers.length === 0 ? 'whoever that lets in' : callers.join(', ')],
    ['chain', chained ? 'required' : 'not required'],
    ['present', `${present}, to the ${program} at ${to}`],
  ];
}

/** A named list of rows; its name stands once. */
function section(name: string, rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return `${name.padEnd(11)}none`;
  return formatTable(rows)
    .map((row, index) => `${(index === 0 ? name : '').padEnd(11)}${row}`)
    .join('\n');
}

/** Where the identity comes from. */
function identityOf({ identity }: Settings): string {
  if (identity === 'none') return identity;
  if ('kubernetes' in identity) return `service account token in ${identity.kubernetes.token_file}`;
  if ('svid_dir' in identity) return `SVID in ${identity.svid_dir}`;
  return identity.hint === undefined ? identity.workload_api : `${identity.workload_api}, hint ${identity.hint}`;
}

/** Those of the settings, and with their place those of the rules and of what is written in vain. */
export function listWarnings({ config, rules }: CheckedConfig): readonly string[] {
  const ofRules = rules.warnings.map(({ index, message }) => {
    const { line, column } = config.locate(['rules', index, 'when']);
    return `${line}:${column}: rules[${index}].when: ${message}`;
  });
  const ofTexts = config.doubts.map(({ path, message }) => {
    const { line, column } = config.locate(path);
    return `${line}:${column}: ${formatPath(path)}: ${message}`;
  });
  return [...findWarnings(config.settings), ...ofRules, ...ofTexts];
}
