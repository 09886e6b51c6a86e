import { createHash } from 'node:crypto';
import type { z } from 'zod';
import { issuesInBadlyNamed } from './badly-named.ts';
import { decodeConfig, fileError, maxConfigBytes, readConfigBytes, tooLarge } from './config-bytes.ts';
import { ConfigErrors, formatPath, type ConfigError, type Place, type SettingPath } from './config-errors.ts';
import { readDocument, type SettingsDocument } from './document.ts';
import { checkOwnPlaces, followLinks } from './own-places.ts';
import { resolvePaths, type Surroundings } from './paths.ts';
import { findPlaceholders } from './placeholders.ts';
import { checkMeaning } from './semantics.ts';
import { settingsSchema, type Settings } from './settings.ts';
import { explainIssues, type Finding } from './shape-errors.ts';
import { findUnheeded } from './unheeded.ts';
import { Written } from './written.ts';

/** A good configuration, and what is needed to report later findings about it. */
export interface LoadedSettings {
  /** Where it came from; for messages. */
  readonly fileName: string;
  readonly settings: Settings;
  /** See `configDigest`. */
  readonly digest: string;
  /** Where a setting stands in the text, such as `['rules', 0, 'when']`; of an absent one, where the nearest around it is named. */
  readonly locate: (path: SettingPath) => Place;
  /** What is allowed and is likely a mistake, as it is written: a sentence each. More is in `findWarnings`. */
  readonly doubts: readonly Finding[];
}

/** zod would write and compile a function for each object of the schema, which pays when many values are read. */
const readOnce = { jitless: true } as const;

/** SHA-256, lower-case hex, of the bytes of a configuration: which one a process runs. A text stands for its UTF-8. */
export function configDigest(content: string | Buffer): string {
  return createHash('sha256').update(content).digest('hex');
}

/**
 * Reads and checks a configuration.
 * @param fileName only for messages.
 * @throws ConfigErrors with everything that is wrong at once; nothing else.
 */
export function loadSettings(text: string, fileName: string): LoadedSettings {
  if (text.length > maxConfigBytes) throw fileError(fileName, tooLarge);
  const document = readDocument(text);
  const faults = document.faults.map((fault) => ({ ...fault, path: formatPath(fault.path) }));
  // After a fault of syntax the rest would be guesses.
  if (!document.readable)
    throw new ConfigErrors(
      fileName,
      withoutRepeats(faults, (fault) => `${fault.line}:${fault.column}`),
    );
  // `---` alone is an empty text too.
  if (document.value === undefined || document.value === null)
    throw fileError(fileName, 'is empty; it needs at least `version` and `agent`');
  const parsed = settingsSchema.safeParse(document.value, readOnce);
  const findings = [
    ...(parsed.success ? [] : explainShape(parsed.error.issues, document.value)),
    ...checkMeaning(document.value),
  ];
  const errors = withoutRepeats(
    [...faults, ...findings.map((finding) => place(finding, document))],
    (error) => error.path,
  );
  if (!parsed.success || errors.length > 0) throw new ConfigErrors(fileName, errors);
  return Object.freeze({
    fileName,
    settings: parsed.data,
    digest: configDigest(text),
    locate: document.locate,
    doubts: [...findUnheeded(new Written(document.value)), ...findPlaceholders(document.value)],
  });
}

type Issues = readonly z.core.$ZodIssue[];

function issuesOf(value: unknown): Issues {
  return settingsSchema.safeParse(value, readOnce).error?.issues ?? [];
}

function explainShape(issues: Issues, written: unknown): readonly Finding[] {
  return explainIssues([...issues, ...issuesInBadlyNamed(issues, written, issuesOf)], written);
}

/** The same for a file. A file that cannot be read is a `ConfigErrors` too. */
export function loadSettingsFile(path: string): LoadedSettings {
  return loadSettings(decodeConfig(readConfigBytes(path, 'anything'), path), path);
}

/**
 * Checks where the files of a good configuration are, with the defaults of whose process it is.
 * @throws ConfigErrors with everything that is wrong with that.
 */
export function checkPlaces({ fileName, settings, locate }: LoadedSettings, surroundings: Surroundings): void {
  const findings = checkOwnPlaces(new Written(settings), resolvePaths(settings, surroundings), followLinks);
  if (findings.length === 0) return;
  const errors = findings.map(({ path, message }) => ({ ...locate(path), path: formatPath(path), message }));
  throw new ConfigErrors(
    fileName,
    withoutRepeats(errors, (error) => error.path),
  );
}

function place(finding: Finding, document: SettingsDocument): ConfigError {
  const { line, column } = finding.atKey === true ? document.locateKey(finding.path) : document.locate(finding.path);
  return { line, column, path: formatPath(finding.path), message: finding.message };
}

/** One mistake gets one message: a parser that lost its way complains again at the same place, and a key that was refused is also missing. */
function withoutRepeats(errors: readonly ConfigError[], keyOf: (error: ConfigError) => string): readonly ConfigError[] {
  const seen = new Map<string, ConfigError>();
  for (const error of errors) {
    if (!seen.has(keyOf(error))) seen.set(keyOf(error), error);
  }
  return [...seen.values()];
}
