import { z } from 'zod';

// By what it is not: editors that read the JSON schema set the u flag or do not, and an emoji is two signs or one to them.
const controls = String.raw`\u0000-\u001f\u007f-\u009f`;
const withoutControls = new RegExp(`^[^${controls}]*$`);

/** Text for people and rules: one line, not empty, without control characters, so that a log line cannot be forged with it. */
export const line = z
  .string()
  .min(1)
  .max(200)
  .regex(withoutControls, { error: 'must be one line without control characters' });

/** The same, but it may be left empty. */
export const lineOrNothing = z
  .string()
  .max(200)
  .regex(withoutControls, { error: 'must be one line without control characters' });

/** A name that stands in paths (`/tools/NAME/`), metrics and rules. It starts with a letter, which also keeps the file's order of names. */
export const identifier = z.string().regex(/^[A-Za-z][A-Za-z0-9._-]{0,62}$/, {
  error: 'names start with a letter and hold at most 63 letters, digits, ".", "_" and "-"',
});

/** SPIFFE ID of a workload (SPIFFE-ID, 2). */
export const workloadId = /^spiffe:\/\/[a-z0-9._-]{1,255}(?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9._-]+)+$/;

/** What is meant as a SPIFFE ID, also with a lost `:` or `/` of `spiffe://`, the commonest slip. */
export const meantAsSpiffeId = /^\s*spiffe\s*[:/]/i;

/** The path of a file or folder. */
export const path = z
  .string()
  .min(1)
  .max(4096)
  .regex(withoutControls, { error: 'must be a path without control characters' });

/** Gives a list of a setting that may be written as one value or as a list. */
export function asList<T extends string>(value: T | readonly T[]): readonly T[] {
  return Object.freeze(typeof value === 'string' ? [value] : [...value]);
}

/** Named entries in the order of the file. A map, since names such as `constructor` must not find what every object inherits. */
export function asMap<T extends object>(entries: Readonly<Record<string, T>>): ReadonlyMap<string, Named<T>> {
  return new Map(Object.entries(entries).map(([name, entry]) => [name, Object.freeze({ name, ...entry })]));
}

/** An entry that knows the name it has in the file. */
export type Named<T> = T & { readonly name: string };
