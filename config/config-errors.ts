/** A place in the text of the configuration, both counted from 1. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

/** The way to a setting: keys and positions in lists, such as `['rules', 0, 'when']`. */
export type SettingPath = readonly (string | number)[];

/** One thing that is wrong, where it stands, and what to do about it. */
export interface ConfigError extends Place {
  /** The setting as people write it, such as `rules[0].when`; empty for the file as a whole. */
  readonly path: string;
  readonly message: string;
}

/** More help nobody: the log and the record get those of every change that is not taken. */
const maxErrors = 100;

/** Everything that is wrong with a configuration, in the order of the text. The values themselves are never repeated here. */
export class ConfigErrors extends Error {
  readonly fileName: string;
  /** The first of them. */
  readonly errors: readonly ConfigError[];
  /** How many there are beside. */
  readonly more: number;

  /** @param more how many were left out before. @param cause what the system said, where it gave no file. */
  constructor(fileName: string, errors: readonly ConfigError[], more = 0, cause?: unknown) {
    const first = errors.toSorted((a, b) => a.line - b.line || a.column - b.column).slice(0, maxErrors);
    const left = more + errors.length - first.length;
    const lines = first.map((error) => formatError(fileName, error));
    super([...lines, ...(left === 0 ? [] : [`${fileName}: and ${left} more`])].join('\n'), { cause });
    this.name = 'ConfigErrors';
    this.fileName = fileName;
    this.errors = Object.freeze(first);
    this.more = left;
  }
}

/** `waybill.yaml:12:7: tools.crm.token.from: …`, which editors and terminals turn into a link. */
function formatError(fileName: string, error: ConfigError): string {
  const where = `${fileName}:${error.line}:${error.column}: `;
  return error.path === '' ? where + error.message : `${where}${error.path}: ${error.message}`;
}

/** Writes a path as people do: `tools.crm.match.paths[0]`, and `purposes["reconcile invoices"]` where a key is not a plain word. */
export function formatPath(path: SettingPath): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else if (!/^[A-Za-z0-9_-]+$/.test(step)) text += `[${JSON.stringify(step)}]`;
    else text += text === '' ? step : `.${step}`;
  }
  return text;
}
