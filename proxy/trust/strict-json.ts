/** Nesting that no honest token or metadata document needs (PROTOCOLS 2). */
const maxDepth = 32;

/** Text that is not one JSON object, repeats a member name, or nests too deep. */
export class InvalidJson extends Error {
  constructor(what: string) {
    super(`JSON ${what}`);
  }
}

/**
 * Reads a JSON object strictly. Two readers of one document with a repeated member see different values ("last wins" here, "first
 * wins" there), which is how a claim is smuggled past a check; so a repeated name is refused, at any depth.
 */
export function parseStrictJson(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's own message quotes the text, which may be a secret.
    throw new InvalidJson('does not parse');
  }
  if (!isObject(value)) throw new InvalidJson('is not an object');
  if (!isPlainlyOnce(value, text)) checkNames(text);
  return value;
}

/** A flat object that is written as we would write it repeats no name: a second one would be missing in what we write. */
function isPlainlyOnce(value: Record<string, unknown>, text: string): boolean {
  for (const name in value) if (typeof value[name] === 'object' && value[name] !== null) return false;
  return JSON.stringify(value) === text;
}

/** A JSON object: neither null nor a list. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Walks text that is known to be valid JSON, so that only strings, brackets and commas have to be told apart. */
function checkNames(text: string): void {
  const open: (Set<string> | undefined)[] = [];
  let nameNext = false;
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (char === '"') {
      const end = endOfString(text, i);
      const names = open.at(-1);
      if (nameNext && names !== undefined) {
        // Decoded first: `"sub"` and `"\u0073ub"` are the same member.
        const written = text.slice(i + 1, end);
        const name = written.includes('\\') ? String(JSON.parse(`"${written}"`)) : written;
        if (names.has(name)) throw new InvalidJson('repeats a member name');
        names.add(name);
        nameNext = false;
      }
      i = end;
    } else if (char === '{' || char === '[') {
      if (open.push(char === '{' ? new Set() : undefined) > maxDepth) throw new InvalidJson('nests too deep');
      nameNext = char === '{';
    } else if (char === '}' || char === ']') {
      open.pop();
    } else if (char === ',') {
      nameNext = open.at(-1) !== undefined;
    }
  }
}

/** Index of the closing quote of the string that begins at `start`. */
function endOfString(text: string, start: number): number {
  let i = start + 1;
  while (text[i] !== '"') i += text[i] === '\\' ? 2 : 1;
  return i;
}
