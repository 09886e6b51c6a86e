import { isDeepStrictEqual } from 'node:util';
import type { z } from 'zod';
import type { SettingPath } from './config-errors.ts';
import { isLaterKey, laterValue } from './later.ts';
import { suggest } from './nearness.ts';
import { describeType, findNodes, knownKeys } from './schema-tree.ts';
import { valueAt } from './written.ts';

/** What is wrong with one setting, before its place in the text is known. */
export interface Finding {
  readonly path: SettingPath;
  readonly message: string;
  /** Set where the key and not the value is wrong. */
  readonly atKey?: true;
}

/** A finding of zod, which we never show as it is. */
type Issue = z.core.$ZodIssue;

/** Puts the findings of the parser into words for a person who sees this file for the first time. */
export function explainIssues(issues: readonly Issue[], written: unknown): readonly Finding[] {
  return issues.filter((issue) => !isMadeNarrower(issue, issues)).flatMap((issue) => explain(issue, [], written));
}

/** The parser first says of a huge number that no whole number is as large, and then what we say of it. */
function isMadeNarrower(issue: Issue, issues: readonly Issue[]): boolean {
  const { code, path } = issue;
  if ((code !== 'too_big' && code !== 'too_small') || issue.origin !== 'int') return false;
  return issues.some((other) => other !== issue && other.code === code && isDeepStrictEqual(other.path, path));
}

function explain(issue: Issue, before: SettingPath, written: unknown): readonly Finding[] {
  const path = [...before, ...issue.path.map((step) => (typeof step === 'number' ? step : String(step)))];
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ path: [...path, key], message: explainKey(path, key), atKey: true }));
  }
  if (issue.code === 'invalid_key') {
    const why = issue.issues.map((inner) => explainValue(inner, path, written));
    return [{ path, message: `not a good name: ${why.join('; ')}`, atKey: true }];
  }
  const value = valueAt(written, path);
  if (value === undefined) return [{ path, message: explainMissing(path, written) }];
  if (value === null) return [{ path, message: 'has no value; fill it in or remove the key' }];
  if (issue.code === 'invalid_union') {
    const branch = chooseBranch(issue.errors, value);
    if (branch !== undefined) return branch.flatMap((inner) => explain(inner, path, written));
    const strays = straysOf(value, path);
    if (strays.length > 0) return strays;
  }
  return [{ path, message: explainValue(issue, path, written) }];
}

/** Of a setting that can be written in several ways, the way that was tried: the one whose outer form fits. */
function chooseBranch(branches: readonly (readonly Issue[])[], value: unknown): readonly Issue[] | undefined {
  if (typeof value !== 'object') {
    // Text that was tried as text, and is merely a wrong one.
    const tried = branches.filter((issues) =>
      issues.every((issue) => issue.code !== 'invalid_type' && issue.code !== 'invalid_value'),
    );
    return tried.length === 1 ? tried[0] : undefined;
  }
  const tried = branches.filter((issues) => issues.some((issue) => issue.path.length > 0 || !isWrongForm(issue)));
  if (tried.length <= 1) return tried[0];
  // Of several mappings, the one whose keys were most likely meant.
  const strays = tried.map((issues) => countStrays(issues, value));
  const least = Math.min(...strays);
  const nearest = tried.filter((_, index) => strays[index] === least);
  return nearest.length === 1 ? nearest[0] : undefined;
}

/** The keys that none of the forms has: of a mapping that is like none of them, what can be said of it. None where no form is a mapping. */
function straysOf(value: unknown, path: SettingPath): readonly Finding[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [];
  const known = knownKeys(path);
  if (known.length === 0) return [];
  const strays = Object.keys(value).filter((key) => !known.includes(key));
  return strays.map((key) => ({ path: [...path, key], message: explainKey(path, key), atKey: true }));
}

/** How far a mapping is from a form: the keys that the form does not know, and those that it misses. */
function countStrays(issues: readonly Issue[], value: unknown): number {
  let strays = 0;
  for (const issue of issues) {
    const [key] = issue.path;
    if (issue.code === 'unrecognized_keys') strays += issue.keys.length;
    else if (issue.path.length === 1 && valueAt(value, [String(key)]) === undefined) strays += 1;
  }
  return strays;
}

/** A finding that says: this is not even meant this way. */
function isWrongForm(issue: Issue): boolean {
  return issue.code === 'invalid_type' || issue.code === 'invalid_value';
}

/** The three ways to get a key wrong: too early a version, a secret, or a slip (also one level too high). */
function explainKey(path: SettingPath, key: string): string {
  const own = [...path, key];
  if (isLaterKey(own)) return 'not available in this version of Waybill; remove the key';
  if (path[0] === 'token_services' && ['client_secret', 'secret', 'clientSecret'].includes(key)) {
    return 'secrets must not stand in the configuration: put it into a file and name the file in `client_secret_file`';
  }
  if (path[0] === 'tools' && key === 'unsafe_plaintext') return 'unknown key; it is written `plaintext: unsafe`';
  const known = knownKeys(path);
  if (known.includes(key)) return 'does not go together with the other keys here; write two entries, or remove it';
  const inner = known.filter((child) => knownKeys([...path, child]).includes(key)).map((child) => `${child}.${key}`);
  return `unknown key${inner[0] === undefined ? suggest(key, known) : `; did you mean \`${inner[0]}\`?`}`;
}

/** The sentence of the table says what should stand there. */
function explainMissing(path: SettingPath, written: unknown): string {
  const node = findNodes(path, written).find((candidate) => candidate.description !== undefined);
  return node?.description === undefined ? 'is missing' : `is missing. ${node.description}`;
}

function explainValue(issue: Issue, path: SettingPath, written: unknown): string {
  switch (issue.code) {
    case 'invalid_value':
    case 'invalid_union':
      return explainChoice(path, written);
    case 'invalid_type':
      return explainForm(issue.expected, path, valueAt(written, path));
    case 'too_small':
      return issue.origin === 'string' ? 'must not be empty' : `must ${count(issue.origin, 'at least', issue.minimum)}`;
    case 'too_big':
      return `must ${count(issue.origin, 'at most', issue.maximum)}`;
    default:
      return issue.message;
  }
}

/** How much of it there may be, after "must": of a text, a list or a number. */
export function count(origin: string, bound: string, limit: number | bigint): string {
  if (origin === 'string') return `have ${bound} ${limit} ${limit === 1 ? 'character' : 'characters'}`;
  return origin === 'array' ? `have ${bound} ${limit} ${limit === 1 ? 'entry' : 'entries'}` : `be ${bound} ${limit}`;
}

/** All that may stand there, and the one that was likely meant. */
function explainChoice(path: SettingPath, written: unknown): string {
  const value = valueAt(written, path);
  const later = laterValue(path, value);
  if (later !== undefined) return `\`${later}\` is not available in this version of Waybill`;
  const nodes = findNodes(path, written);
  const choices = nodes.flatMap((node) => node.enum ?? (node.const === undefined ? [] : [node.const]));
  const expected = `must be ${nodes[0] === undefined ? 'another value' : oneOf(describeType(nodes[0]))}`;
  if (typeof value === 'string' && choices.includes(Number(value))) return `${expected}, without quotes`;
  return typeof value === 'string' ? expected + suggest(value, choices.map(String)) : expected;
}

const oneOf = (choices: string): string =>
  choices.includes(', ') && !choices.includes(' or ') ? `one of ${choices}` : choices;

/** Text where a list is expected, and the like. */
function explainForm(expected: string, path: SettingPath, value: unknown): string {
  const words = findNodes(path).map(describeType)[0] ?? expected;
  switch (expected) {
    case 'string':
      if (words.includes('duration')) return 'must be a duration with a unit, such as 5m';
      return typeof value === 'object' ? `must be ${words}, and is ${formOf(value)}` : 'must be text; put it in quotes';
    case 'array':
      return `must be a list, such as [a, b], and is ${formOf(value)}`;
    case 'object':
    case 'record':
      return `must be a mapping (\`key: value\`), and is ${formOf(value)}`;
    case 'int':
    case 'number':
      if (typeof value === 'number')
        return `must be ${words}, and is ${Number.isFinite(value) ? 'a fraction' : 'none'}`;
      return `must be ${words}, and is ${formOf(value)}`;
    default:
      return `must be ${words}, and is ${formOf(value)}`;
  }
}

function formOf(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a mapping';
  return typeof value === 'string' ? 'text' : `a ${typeof value}`;
}
