import { existsSync } from 'node:fs';
import { decodeConfig, fileError, readConfigBytes, type ConfigSource } from '../../config/config-bytes.ts';
import { ConfigErrors, type ConfigError } from '../../config/config-errors.ts';
import { readDocument } from '../../config/document.ts';
import { checkPlaces, loadSettings, type LoadedSettings } from '../../config/load.ts';
import { defaultFolders, resolvePaths, type Paths, type Surroundings } from '../../config/paths.ts';
import { Written } from '../../config/written.ts';
import { compileRulesOrErrors } from '../check-rules.ts';
import { compileRules, RuleErrors, type CompiledRules } from '../decide/rules.ts';

/** `--config` of every command that has it. */
export const configOption = { config: { type: 'string' } } as const;

/** Where the configuration is looked for when nobody names one. */
export const defaultConfigFile = 'waybill.yaml';

/** Most likely nobody named a file, and this is the first thing that is tried. */
const notHere =
  'cannot be read: there is no such file here; name one with --config FILE, or begin with the one of fifteen lines in README.md';

/** A configuration whose every part is good, its rules included. */
export interface CheckedConfig {
  readonly config: LoadedSettings;
  readonly rules: CompiledRules;
}

/**
 * Loads a configuration and compiles its rules. Throws ConfigErrors with all that is wrong in either, at once; where only the places of
 * its files are wrong, with that.
 */
export function loadConfigFile(
  path: string,
  surroundings: Surroundings,
  source: ConfigSource = 'anything',
): CheckedConfig {
  if (source === 'anything' && path === defaultConfigFile && !existsSync(path)) throw fileError(path, notHere);
  // Read once: a pipe has it once only, and a file could be another one a moment later.
  const text = decodeConfig(readConfigBytes(path, source), path);
  let config: LoadedSettings;
  try {
    config = loadSettings(text, path);
  } catch (error) {
    if (!(error instanceof ConfigErrors)) throw error;
    throw new ConfigErrors(error.fileName, [...error.errors, ...findRuleErrors(text, error.errors)], error.more);
  }
  const rules = compileRulesOrErrors(config, '');
  checkPlaces(config, surroundings);
  return { config, rules };
}

/** The configuration that a command beside the sidecar means: the named one, else `waybill.yaml` if there is one, else none. */
export function findConfigFile(named: string | undefined, surroundings: Surroundings): CheckedConfig | undefined {
  if (named !== undefined) return loadConfigFile(named, surroundings);
  return existsSync(defaultConfigFile) ? loadConfigFile(defaultConfigFile, surroundings) : undefined;
}

/** Where the sidecar of a configuration keeps its files; without a configuration, where one with nothing set would. */
export function findPlaces(
  found: Pick<CheckedConfig, 'config'> | undefined,
  surroundings: Surroundings,
): Pick<Paths, 'run' | 'state' | 'operatorSocket' | 'caPublish' | 'recordFile'> {
  if (found !== undefined) return resolvePaths(found.config.settings, surroundings);
  const { run, state } = defaultFolders(surroundings);
  return {
    run,
    state,
    operatorSocket: `${run}/operator.sock`,
    caPublish: `${run}/trust`,
    recordFile: `${state}/events.jsonl`,
  };
}

/** Errors of rules in a text that is wrong elsewhere too: each rule is compiled alone, as far as its text can be read. */
function findRuleErrors(text: string, known: readonly ConfigError[]): readonly ConfigError[] {
  const document = readDocument(text);
  if (!document.readable) return [];
  const written = new Written(document.value);
  // Only to warn of rules that name another tool; the names need not be good yet.
  const tools = written.names(['tools']).map((name) => ({ name }));
  // What a rule may read is fixed by the checker, so any values do.
  const agent = { name: '', owner: '', purpose: '', environment: '', spiffe_id: '' };
  const found: ConfigError[] = [];
  for (let index = 0; index < written.count(['rules']); index++) {
    const when = written.text(['rules', index, 'when']);
    const isKnown = when === undefined || known.some((error) => error.path === `rules[${index}].when`);
    const name = written.text(['rules', index, 'name']) ?? '';
    // Where its condition is no text, or has been told of, the name is all that is left to judge.
    const rule = { name, effect: 'allow', when: isKnown ? 'true' : when, mode: 'enforce' } as const;
    try {
      compileRules([rule], { agent, environment: '', tools });
    } catch (error) {
      if (!(error instanceof RuleErrors)) throw error;
      found.push(
        ...error.errors.map(({ setting, message }) => ({
          ...document.locate(['rules', index, setting]),
          path: `rules[${index}].${setting}`,
          message,
        })),
      );
    }
  }
  return found;
}
