import type { Finding } from './shape-errors.ts';
import type { Written } from './written.ts';

/** By the way in which tokens are checked: what is not seen of them then, and why. */
const unseen: ReadonlyMap<string, { readonly keys: readonly string[]; readonly why: string }> = new Map([
  ['response-only', { keys: ['sub', 'act', 'typ'], why: 'nobody reads what the token says' }],
  ['introspect', { keys: ['typ'], why: 'the service does not tell the header of the token' }],
]);

/**
 * What is expected of the tokens of a service and nobody compares: who wrote it believes that a token is refused, and any token passes. A
 * warning, since the whole of `expect` is often one text for several services.
 */
export function findUnheeded(written: Written): readonly Finding[] {
  // Statements of a service, such as transaction tokens, are read whatever is said of its access tokens.
  const issuing = new Set(
    written.names(['tools']).flatMap((tool) => written.texts(['tools', tool, 'token', 'from']).map(([, from]) => from)),
  );
  return written
    .names(['token_services'])
    .filter((name) => issuing.has(name))
    .flatMap((name) => checkService(written, ['token_services', name]));
}

function checkService(written: Written, service: readonly string[]): readonly Finding[] {
  const verify = written.text([...service, 'verify']) ?? '';
  const { keys, why } = unseen.get(verify) ?? { keys: [], why: '' };
  return keys
    .map((key) => [...service, 'expect', key])
    .filter((path) => written.has(path) && written.text(path) !== 'any')
    .map((path) => ({
      path,
      message: `is not compared with \`verify: ${verify}\`: ${why}; remove it, or check tokens another way.`,
    }));
}
