import { ConfigErrors } from '../config/config-errors.ts';
import type { LoadedSettings } from '../config/load.ts';
import { compileRules, RuleErrors, type CompiledRules } from './decide/rules.ts';

/** Those of configurations that are in use: a start asks for the same rules four times. */
const compiled = new WeakMap<LoadedSettings, CompiledRules>();

/**
 * Compiles the rules of a configuration; once, whoever asks.
 * @param spiffeId identity of the agent, or empty while there is none.
 * @throws ConfigErrors with every rule that does not compile, where it stands in the text.
 */
export function compileRulesOrErrors(config: LoadedSettings, spiffeId: string): CompiledRules {
  const { agent, rules, inbound, tools } = config.settings;
  // The program behind the way in is a tool of this name there.
  const named = [...tools.values(), ...(inbound === undefined ? [] : [{ name: inbound.program }])];
  const facts = { ...agent, spiffe_id: spiffeId };
  const known = compiled.get(config);
  if (known !== undefined) return known.as(facts);
  try {
    const made = compileRules(rules, { agent: facts, environment: agent.environment, tools: named });
    compiled.set(config, made);
    return made;
  } catch (error) {
    if (!(error instanceof RuleErrors)) throw error;
    const found = error.errors.map(({ index, setting, message }) => ({
      ...config.locate(['rules', index, setting]),
      path: `rules[${index}].${setting}`,
      message,
    }));
    throw new ConfigErrors(config.fileName, found);
  }
}
