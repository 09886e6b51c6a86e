import type { z } from 'zod';
import type { SettingPath } from './config-errors.ts';
import { valueAt } from './written.ts';

type Issue = z.core.$ZodIssue;

/** An entry whose name is none that may stand there, and the one under which it is looked at. */
interface Rename {
  readonly around: SettingPath;
  readonly name: string;
  readonly stand: string;
}

/**
 * What is wrong inside entries whose names are wrong: the parser passes over what they hold, and who corrected the name would hear of the
 * rest only then. They are parsed once more, under names that are good in every mapping of ours but those of URLs, which hold no mappings.
 * @param issues of the first parsing of what was written.
 */
export function issuesInBadlyNamed(
  issues: readonly Issue[],
  written: unknown,
  parse: (value: unknown) => readonly Issue[],
): readonly Issue[] {
  const named = issues.filter((issue) => issue.code === 'invalid_key');
  if (named.length === 0) return [];
  const value: unknown = structuredClone(written);
  const renames = new Map<string, Rename>();
  for (const [index, { path }] of named.entries()) {
    const steps = path.map((step) => (typeof step === 'number' ? step : String(step)));
    const rename = putUnderGoodName(value, steps.slice(0, -1), String(steps.at(-1)), `entry${index}`);
    if (rename !== undefined) renames.set(JSON.stringify([...rename.around, rename.stand]), rename);
  }
  return parse(value).flatMap((issue) => {
    for (let length = 1; length <= issue.path.length; length++) {
      const rename = renames.get(JSON.stringify(issue.path.slice(0, length)));
      if (rename === undefined) continue;
      // What says that this name is no good either is told of the written one already.
      if (issue.code === 'invalid_key' && length === issue.path.length) return [];
      return [{ ...issue, path: [...rename.around, rename.name, ...issue.path.slice(length)] }];
    }
    return [];
  });
}

function putUnderGoodName(value: unknown, around: SettingPath, name: string, wanted: string): Rename | undefined {
  const entries = valueAt(value, around);
  if (typeof entries !== 'object' || entries === null) return undefined;
  let stand = wanted;
  while (Object.hasOwn(entries, stand)) stand += 'x';
  Reflect.set(entries, stand, Reflect.get(entries, name));
  Reflect.deleteProperty(entries, name);
  return { around, name, stand };
}
