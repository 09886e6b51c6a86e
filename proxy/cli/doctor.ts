import { ConfigErrors } from '../../config/config-errors.ts';
import { listUnsafe } from '../../config/unsafe.ts';
import { buildToolCatalogue } from '../intercept/tool-catalogue.ts';
import { exitCodes, jsonOption, parseArguments, type Command, type Invocation } from './command.ts';
import { configOption, defaultConfigFile, loadConfigFile, type CheckedConfig } from './config-file.ts';
import { checkEnvironment } from './doctor/environment-check.ts';
import { checkFiles } from './doctor/file-check.ts';
import { examine, stepMs, totalMs, type Finding, type Findings, type FindingState } from './doctor/finding.ts';
import { checkIdentity } from './doctor/identity-check.ts';
import { openPatient, type Patient } from './doctor/patient.ts';
import { checkPorts, checkProgram } from './doctor/port-check.ts';
import { checkIssuer, checkService } from './doctor/service-check.ts';
import { checkSidecar } from './doctor/sidecar-check.ts';
import { checkBinding, checkRungs } from './doctor/task-check.ts';
import { checkTool } from './doctor/tool-check.ts';
import { formatTable } from './table.ts';
import { listWarnings } from './validate.ts';

/** `waybill doctor`: what of a configuration and its surroundings will stop calls, and what to do about it. */
export const doctor: Command = {
  usage: `Usage: waybill doctor [--config FILE] [--running] [--json]

Examines a configuration and what surrounds it: files, identity, token services, tools, tasks, ports, the environment of an agent, and the sidecar
that runs. Each finding is ok, info, warning or failed, with what to do. Run it as the user of the sidecar; run it where the agent runs to
have its environment examined.

It resolves and dials what the configuration names, and asks token services for their public documents. It sends no credential, opens
neither record nor listener, and shows no secret. A step waits ${stepMs / 1000} s at most, all of it ${totalMs / 1000} s.

  --config FILE   the configuration; default: ${defaultConfigFile}
  --running       a sidecar has to answer at its operator's socket
  --json          one JSON object: {ok, file, findings: [{check, subject, state, message, advice}]}

Exit code 1 if something failed that will stop calls, 64 if the configuration is wrong, 69 if --running finds no sidecar.
`,
  async run(invocation) {
    const { values } = parseArguments({
      args: [...invocation.args],
      options: { ...configOption, ...jsonOption, running: { type: 'boolean', default: false } },
    });
    const file = values.config ?? defaultConfigFile;
    let checked: CheckedConfig;
    try {
      checked = loadConfigFile(file, invocation.surroundings);
    } catch (error) {
      if (!(error instanceof ConfigErrors)) throw error;
      tell(file, errorsOf(error), values.json, invocation);
      return exitCodes.usage;
    }
    const findings = await examineAll(checked, invocation);
    tell(file, findings, values.json, invocation);
    if (findings.some(({ state }) => state === 'failed')) return exitCodes.no;
    const isRunning = findings.some(({ check, state }) => check === 'sidecar' && state !== 'info');
    return values.running && !isRunning ? exitCodes.unavailable : exitCodes.ok;
  },
};

/** All checks at once: none waits for another, but for the identity where it needs that. */
async function examineAll(checked: CheckedConfig, { surroundings }: Invocation): Promise<readonly Finding[]> {
  const { config } = checked;
  const { settings } = config;
  const patient = openPatient(config, surroundings);
  const { tools } = buildToolCatalogue(settings.tools);
  const services = [...settings.token_services.values()];
  const issuers = settings.trust.issuers.filter(
    ({ issuer, jwks_uri: keys }) => keys !== undefined || !services.some((service) => service.issuer === issuer),
  );
  const checks: readonly (readonly [string, string, (found: Findings) => Promise<void>])[] = [
    ['node', '', async (found) => found.ok(`Node.js ${process.versions.node}, ${process.platform} ${process.arch}`)],
    ['config', '', async (found) => checkConfig(checked, found)],
    ...of(patient, { files: checkFiles, identity: checkIdentity }),
    ...services.map(
      (one) => ['service', one.name, async (found: Findings) => checkService(one, patient, found)] as const,
    ),
    ...issuers.map(
      (one) => ['issuer', one.issuer, async (found: Findings) => checkIssuer(one, patient, found)] as const,
    ),
    ...tools.map((one) => ['tool', one.name, async (found: Findings) => checkTool(one, patient, found)] as const),
    ...tools.map((one) => ['tasks', one.name, async (found: Findings) => checkRungs(one, settings, found)] as const),
    ...of(patient, {
      binding: checkBinding,
      environment: checkEnvironment,
      ports: checkPorts,
      program: checkProgram,
      sidecar: checkSidecar,
    }),
  ];
  try {
    return (await Promise.all(checks.map(async ([check, subject, work]) => examine(check, subject, work)))).flat();
  } finally {
    await patient.close();
  }
}

type Check = (patient: Patient, found: Findings) => Promise<void>;

function of(patient: Patient, checks: Readonly<Record<string, Check>>) {
  return Object.entries(checks).map(
    ([check, work]) => [check, '', async (found: Findings) => work(patient, found)] as const,
  );
}

function checkConfig(checked: CheckedConfig, found: Findings): void {
  found.ok(`it is good (digest ${checked.config.digest.slice(0, 16)})`);
  for (const warning of listWarnings(checked)) found.warn(warning, 'See whether that is meant.');
  for (const setting of listUnsafe(checked.config.settings))
    found.warn(`${setting} lowers safety`, 'Take it out where it is not needed.');
}

function errorsOf({ fileName, errors, more }: ConfigErrors): readonly Finding[] {
  const first = errors.map(({ line, column, path, message }) =>
    errorOf(path, `${fileName}:${line}:${column}: ${message}`),
  );
  return more === 0 ? first : [...first, errorOf('', `and ${more} more errors`)];
}

function errorOf(subject: string, message: string): Finding {
  return { check: 'config', subject, state: 'failed', message, advice: 'The sidecar does not start with it.' };
}

const colours: Readonly<Record<FindingState, string>> = { ok: '32', info: '2', warning: '33', failed: '31' };

/** Everything that was found, in the order of the checks; at the end how much of each. */
function tell(file: string, findings: readonly Finding[], asJson: boolean, { print, colour }: Invocation): void {
  const count = (wanted: FindingState): number => findings.filter(({ state }) => state === wanted).length;
  if (asJson) {
    print(JSON.stringify({ ok: count('failed') === 0, file, findings }));
    return;
  }
  const rows = formatTable(
    findings.map(({ state, check, subject, message }) => [
      state,
      subject === '' ? check : `${check} ${subject}`,
      message,
    ]),
  );
  for (const [at, { state, advice }] of findings.entries()) {
    const row = rows[at] ?? '';
    print(colour ? `\u001B[${colours[state]}m${row}\u001B[0m` : row);
    if (advice !== undefined) print(`         ${advice}`);
  }
  print(`\n${count('failed')} failed, ${count('warning')} warnings, ${count('ok')} ok`);
}
