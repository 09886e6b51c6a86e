import { ConfigErrors } from '../config/config-errors.ts';
import type { LoadedSettings } from '../config/load.ts';
import { compileRules, RuleErrors, type CompiledRules } from './decide/rules.ts';

/**
 * Compiles the rules of a configuration.
 * @param spiffeId identity of the agent, or empty while there is none.
 * @throws ConfigErrors with every rule that does not compile, where it stands in the text.
 */
export function compileRulesOrErrors(config: LoadedSettings, spiffeId: string): CompiledRules {
  const { agent, rules, tools } = config.settings;
  try {
    return compileRules(rules, {
      agent: { ...agent, spiffe_id: spiffeId },
      environment: agent.environment,
      tools: [...tools.values()],
    });
  } catch (error) {
    if (!(error instanceof RuleErrors)) throw error;
    const found = error.errors.map(({ index, message }) => {
      const path = ['rules', index, 'when'];
      return { ...config.locate(path), path: `rules[${index}].when`, message };
    });
    throw new ConfigErrors(config.fileName, found);
  }
}
