import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { Settings } from '../../../config/settings.ts';
import { checkAuthority } from '../../intercept/pod-authority.ts';
import { readCutOffs } from '../../steward/cut-off-file.ts';
import { OwnCertificate } from '../../steward/own-certificate.ts';
import { RoleTokens } from '../../steward/roles.ts';
import { readAuthorization } from '../../steward/signal-receiver.ts';
import { inStep, wordOf, type Findings } from './finding.ts';
import type { Patient } from './patient.ts';

const advice = 'The sidecar does not start with it.';

/** A pipe would be waited for without end; that it is no file is told with all files that are read. */
function isNoFile(file: string): boolean {
  try {
    return !statSync(file).isFile();
  } catch {
    return false;
  }
}

/** What of its own files keeps a sidecar from starting, by the readers of the start. Nothing is made, and nothing written. */
export async function checkStart({ config, paths }: Patient, found: Findings): Promise<void> {
  const { operator, signals } = config.settings;
  for (const [role, file] of Object.entries(operator.tokens))
    if (file !== undefined && !isNoFile(file))
      await tryRead(`operator.tokens.${role}`, () => void new RoleTokens({ [role]: file }), found);
  const cutOffs = await whyNot(() => void readCutOffs(paths.revocationsFile));
  if (cutOffs !== undefined) found.fail(`cut-offs of the kill switch: ${cutOffs.word}`, advice);
  const kept = ['ca.key', 'ca.pem'].map((name) => join(paths.caDir, name));
  const odd = kept.find(isNoFile);
  if (odd !== undefined) found.fail(`ca.dir: ${odd} is no file`, advice);
  const authority = odd === undefined ? await whyNot(() => checkAuthority(paths.caDir)) : undefined;
  if (authority !== undefined)
    found.fail(
      authority.isPlace
        ? `ca.dir: a file in ${paths.caDir} cannot be read (${authority.word})`
        : `ca.dir: ${authority.word}`,
      advice,
    );
  if (signals === undefined) return;
  await checkSignals(signals, found);
}

async function checkSignals({ tls, transmitters }: NonNullable<Settings['signals']>, found: Findings): Promise<void> {
  for (const [at, { authorization_file: file }] of transmitters.entries())
    if (file !== undefined && !isNoFile(file))
      await tryRead(`signals.transmitters[${at}].authorization_file`, () => inStep(readAuthorization(file)), found);
  // What Node and OpenSSL say of it may hold anything; of ours is one sentence only.
  const why =
    tls === undefined || [tls.certificate, tls.key].some(isNoFile)
      ? undefined
      : await whyNot(() => void new OwnCertificate(tls));
  if (why !== undefined && !why.isPlace)
    found.fail('signals.tls: the two files are no certificate and its key', 'Name the files of one certificate.');
}

async function tryRead(setting: string, read: () => unknown, found: Findings): Promise<void> {
  const why = await whyNot(read);
  // What the system says of a file is told with all files that are read.
  if (why !== undefined && !why.isPlace) found.fail(`${setting}: ${why.word}`, advice);
}

/** Undefined where it can be read. What the system says is of the place of a file; all else is of its content. */
async function whyNot(read: () => unknown): Promise<{ readonly word: string; readonly isPlace: boolean } | undefined> {
  try {
    await read();
    return undefined;
  } catch (error) {
    return { word: wordOf(error), isPlace: error instanceof Error && 'syscall' in error };
  }
}
