import type { CelType } from '@bufbuild/cel';
import { findClosestName } from '../closest-name.ts';
import { facts, isFact } from '../facts.ts';
import { typeOfFact } from './cel-types.ts';

/** `task` -> [txn, purpose, …]; `call.mcp` is a record inside a record. */
const records: ReadonlyMap<string, readonly string[]> = findRecords();
const roots: readonly string[] = [...new Set(Object.keys(facts).map((name) => name.split('.')[0] ?? name))];

export function isRoot(name: string): boolean {
  return roots.includes(name);
}

/** What a chain of names that begins with a variable of ours means: its type, or why it means nothing. */
export function resolveNames(names: readonly string[]): { readonly type: CelType } | { readonly problem: string } {
  const name = names.join('.');
  if (isFact(name)) return { type: typeOfFact(name) };
  const members = records.get(name);
  if (members !== undefined) {
    return { problem: `${name} is a record; name one of its members, such as ${name}.${members[0] ?? ''}` };
  }
  return { problem: explainUnknown(names) };
}

/** The longest known beginning says what is wrong with the name after it. */
function explainUnknown(names: readonly string[]): string {
  for (let length = names.length - 1; length > 0; length--) {
    const owner = names.slice(0, length).join('.');
    const wrong = names[length] ?? '';
    if (isFact(owner))
      return `${owner} is a ${facts[owner].type.replace('strings', 'list')} and has no member ${wrong}`;
    const members = records.get(owner);
    if (members === undefined) continue;
    return `${owner} has no member ${wrong}${suggest(wrong, members)} (its members: ${members.join(', ')})`;
  }
  const wrong = names[0] ?? '';
  return `unknown variable ${wrong}${suggest(wrong, roots)} (variables: ${roots.join(', ')})`;
}

export function suggest(wrong: string, known: Iterable<string>): string {
  const closest = findClosestName(wrong, known);
  return closest === undefined ? '' : `; did you mean ${closest}?`;
}

function findRecords(): Map<string, readonly string[]> {
  const found = new Map<string, string[]>();
  for (const fact of Object.keys(facts)) {
    const names = fact.split('.');
    for (let length = 1; length < names.length; length++) {
      const owner = names.slice(0, length).join('.');
      const members = found.get(owner) ?? [];
      const member = names[length] ?? '';
      if (!members.includes(member)) found.set(owner, [...members, member]);
    }
  }
  return found;
}
