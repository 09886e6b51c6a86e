/** One matcher of a selector, such as `grade="proven"`. */
export interface Matcher {
  readonly label: string;
  readonly op: '=' | '!=' | '=~' | '!~';
  readonly value: string;
}

/** A metric as an expression names it, with its matchers. */
export interface Selector {
  readonly metric: string;
  readonly matchers: readonly Matcher[];
}

const words = new Set(['and', 'or', 'unless', 'offset', 'bool', 'inf', 'nan', 'start', 'end']);
const grouping = /\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)/g;

/** The selectors of an expression. Reads what rules are written in: names, functions, ranges, numbers; no quoted metric names. */
export function readSelectors(expression: string): Selector[] {
  // Strings first: a value may hold anything. What stands in braces is kept beside, by its place.
  const braces: string[] = [];
  const text = expression
    .replaceAll(/\{((?:[^"}]|"(?:\\.|[^"\\])*")*)\}/g, (_all, inner: string) => `{${braces.push(inner) - 1}}`)
    .replaceAll(grouping, ' ')
    .replaceAll(/\[[^\]]*\]/g, ' ');
  const found = text.matchAll(/(?<![\w:])([a-zA-Z_:][\w:]*)(?![\w:])(?!\s*\()(?:\s*\{(\d+)\})?/g);
  return [...found]
    .filter(([, name = '']) => !words.has(name.toLowerCase()))
    .map(([, metric = '', at]) => ({
      metric,
      matchers: at === undefined ? [] : readMatchers(braces[Number(at)] ?? ''),
    }));
}

/** The labels by which an expression groups or joins. */
export function readGrouping(expression: string): string[] {
  const lists = [...expression.matchAll(grouping)].map(([, list = '']) => list.split(','));
  return lists.flat().flatMap((label) => (label.trim() === '' ? [] : [label.trim()]));
}

/** The labels that a text for people fills in: `{{ $labels.instance }}`. */
export function readTemplateLabels(text: string): string[] {
  return [...text.matchAll(/\$labels\.(\w+)/g)].map(([, label = '']) => label);
}

/** The values that a matcher names: a regular expression must be a list of words. Empty for one that matches by pattern. */
export function valuesOf({ op, value }: Matcher): string[] {
  if (op === '=' || op === '!=') return [value];
  return /^[\w|]+$/.test(value) ? value.split('|') : [];
}

function readMatchers(inner: string): Matcher[] {
  const found = inner.matchAll(/(\w+)\s*(=~|!~|!=|=)\s*"((?:\\.|[^"\\])*)"/g);
  return [...found].map(([, label = '', op, value = '']) => ({ label, op: op as Matcher['op'], value }));
}
