import { accessSync, constants, lstatSync, statSync, type Stats } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Settings } from '../../../config/settings.ts';
import type { ToolSettings } from '../../../config/tools.ts';
import { readSecret, secretFiles } from '../../exchange/issuers/brokered-secret.ts';
import { findFolderFault } from '../../own-folder.ts';
import { Refusal } from '../../refusal.ts';
import { readAuthorities } from '../../spiffe/authorities-file.ts';
import { inStep, wordOf, type Findings } from './finding.ts';
import type { Patient } from './patient.ts';
import { checkStart } from './start-check.ts';

/** Where the sidecar writes, and what it reads. Nothing is opened or made: a record that is appended to would be changed. */
export async function checkFiles(patient: Patient, found: Findings): Promise<void> {
  const { config, paths, surroundings } = patient;
  checkRunFolder(paths, surroundings.uid, found);
  if (paths.recordFile === undefined) found.ok('the record is standard output');
  else checkWritten('record', paths.recordFile, found);
  checkWritten('cut-offs of the kill switch', paths.revocationsFile, found);
  checkFolder('ca.dir', paths.caDir, found);
  checkFolder('ca.publish', paths.caPublish, found);
  checkFolder('folder of operator.socket', dirname(paths.operatorSocket), found);
  checkClosed('key of the CA', join(paths.caDir, 'ca.key'), found);
  for (const [setting, file, isSecret] of listRead(config.settings)) checkRead(setting, file, isSecret, found);
  await checkStart(patient, found);
  await Promise.all([...config.settings.tools.values()].map((tool) => checkSecret(tool, found)));
}

/** The key of a tool by the rules of its calls: a file with two lines can be read, and every call would be refused. */
async function checkSecret({ name, secret }: ToolSettings, found: Findings): Promise<void> {
  if (secret === undefined) return;
  // What cannot be read has been told.
  if (secretFiles(name, secret).some((file) => statusOf(file)?.isFile() !== true)) return;
  try {
    await inStep(readSecret(name, secret));
  } catch (error) {
    const why = error instanceof Refusal ? error.detail : wordOf(error);
    found.fail(
      `tools.${name}.secret: every call is refused: ${why}`,
      'Have one line there, with the key and nothing else.',
    );
  }
}

/** A run folder in a place that everybody can write to may be somebody else's. */
function checkRunFolder(paths: Patient['paths'], uid: number, found: Findings): void {
  const fault = findFolderFault(paths, uid);
  if (fault !== undefined) found.fail(fault, 'The sidecar does not start with it.');
}

/** A file that is appended to or replaced: itself, or the folder that it will be made in. */
function checkWritten(what: string, file: string, found: Findings): void {
  const there = statusOf(file);
  if (there?.isDirectory() === true) {
    found.fail(`${what}: ${file} is a folder`, 'Name a file.');
    return;
  }
  const why = there === undefined ? whyNotMade(dirname(file)) : whyNot(file, constants.W_OK);
  if (why !== undefined)
    found.fail(
      `${what}: ${file} cannot be written (${why})`,
      'Give the user of the sidecar the folder, or name another.',
    );
  else found.ok(`${what}: ${file} can be written`);
  checkClosed(what, file, found);
}

function checkFolder(what: string, folder: string, found: Findings): void {
  const why = whyNotMade(folder);
  if (why === undefined) found.ok(`${what}: ${folder} can be written`);
  else
    found.fail(
      `${what}: ${folder} cannot be written (${why})`,
      'Give the user of the sidecar the folder, or name another.',
    );
}

/** What others must not read, where it is there already. */
function checkClosed(what: string, file: string, found: Findings): void {
  const mode = statusOf(file)?.mode;
  if (mode !== undefined && (mode & 0o077) !== 0 && !file.startsWith('/dev/'))
    found.warn(`${what}: other users may open ${file}`, `chmod 600 ${file}`);
}

function checkRead(setting: string, file: string, isSecret: boolean, found: Findings): void {
  const there = statusOf(file);
  const why = there === undefined ? 'ENOENT' : there.isDirectory() ? 'EISDIR' : whyNot(file, constants.R_OK);
  if (why !== undefined)
    found.fail(`${setting}: ${file} cannot be read (${why})`, 'Put it there, readable by the user of the sidecar.');
  else if (there?.size === 0) found.fail(`${setting}: ${file} is empty`, 'Put the content there.');
  else if (setting.endsWith('.ca') && there?.isFile() === true && !holdsAuthorities(file))
    found.fail(`${setting}: ${file} holds no CA certificate (PEM)`, 'Put it there: without it nothing is called.');
  else found.ok(`${setting}: ${file} can be read`);
  if (isSecret && there !== undefined && (there.mode & 0o007) !== 0)
    found.warn(`${setting}: every user may read ${file}`, `chmod o= ${file}`);
}

/** By the reader of the calls. What cannot be read at all has been told. */
function holdsAuthorities(file: string): boolean {
  try {
    readAuthorities(file);
    return true;
  } catch {
    return false;
  }
}

/** The files that the configuration names, and whether each is a secret. */
function listRead(settings: Settings): readonly (readonly [setting: string, file: string, isSecret: boolean])[] {
  const ofServices = [...settings.token_services.values()].flatMap((service) => {
    const at = `token_services.${service.name}`;
    const files: readonly (readonly [string, string | undefined, boolean])[] = [
      [`${at}.client_secret_file`, service.client_secret_file, true],
      [`${at}.client_key_file`, service.client_key_file, true],
      [`${at}.client_certificate_file`, service.client_certificate_file, false],
      [`${at}.token_file`, service.token_file, true],
      [`${at}.tls.ca`, service.tls.ca, false],
    ];
    return files;
  });
  const ofTools = [...settings.tools.values()].flatMap((tool) => {
    const secrets = tool.secret === undefined ? [] : secretFiles(tool.name, tool.secret);
    return [
      [`tools.${tool.name}.tls.ca`, tool.tls.ca, false] as const,
      ...secrets.map((file) => [`tools.${tool.name}.secret`, file, true] as const),
    ];
  });
  return [...ofServices, ...ofTools, ...listShared(settings)].flatMap(([setting, file, isSecret]) =>
    file === undefined ? [] : [[setting, file, isSecret] as const],
  );
}

/** Those of the operator, of trust, of the fleet and of the receiver of signals. */
function listShared({ operator, trust, fleet, signals }: Settings) {
  const files: (readonly [string, string | undefined, boolean])[] = [
    ['fleet.password_file', fleet?.password_file, true],
    ['fleet.sentinel_password_file', fleet?.sentinel_password_file, true],
    ['fleet.tls.ca', fleet?.tls?.ca, false],
    ['signals.tls.certificate', signals?.tls?.certificate, false],
    ['signals.tls.key', signals?.tls?.key, true],
  ];
  for (const [role, file] of Object.entries(operator.tokens)) files.push([`operator.tokens.${role}`, file, true]);
  for (const [domain, source] of trust.domains) {
    if (typeof source !== 'object') continue;
    const at = `trust.domains.${domain}`;
    if ('bundle_file' in source) files.push([`${at}.bundle_file`, source.bundle_file, false]);
    else
      files.push(
        [`${at}.bundle_endpoint.ca`, source.bundle_endpoint.ca, false],
        [`${at}.bundle_endpoint.bootstrap`, source.bundle_endpoint.bootstrap, false],
      );
  }
  for (const [at, { tls }] of trust.issuers.entries()) files.push([`trust.issuers[${at}].tls.ca`, tls.ca, false]);
  for (const [at, { authorization_file: file, tls }] of signals?.transmitters.entries() ?? [])
    files.push(
      [`signals.transmitters[${at}].authorization_file`, file, true],
      [`signals.transmitters[${at}].tls.ca`, tls.ca, false],
    );
  return files;
}

/** Why a folder cannot be made or written to: judged by the nearest one above it that is there. */
function whyNotMade(folder: string): string | undefined {
  let at = folder;
  while (statusOf(at) === undefined && dirname(at) !== at) {
    // A link that leads nowhere is there, and nothing can be made behind it.
    if (isLink(at)) return 'ENOENT';
    at = dirname(at);
  }
  return statusOf(at)?.isDirectory() === true ? whyNot(at, constants.W_OK | constants.X_OK) : 'ENOTDIR';
}

function whyNot(path: string, mode: number): string | undefined {
  try {
    accessSync(path, mode);
    return undefined;
  } catch (error) {
    return wordOf(error);
  }
}

/** Undefined for what is not there, or behind what is no folder. */
function statusOf(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}

function isLink(path: string): boolean {
  try {
    return lstatSync(path).isSymbolicLink();
  } catch {
    return false;
  }
}
