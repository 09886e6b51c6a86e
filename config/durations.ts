import { z } from 'zod';

const spelling = /^\d{1,9}(?:ms|s|m|h)$/;
const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;

/** Reads `250ms`, `2s`, `5m` or `1h` as milliseconds. Undefined for anything else: a bare number could mean seconds or milliseconds. */
export function parseDuration(text: string): number | undefined {
  const match = /^(?<count>\d{1,9})(?<unit>ms|s|m|h)$/.exec(text);
  const unit = match?.groups?.['unit'];
  if (unit !== 'ms' && unit !== 's' && unit !== 'm' && unit !== 'h') return undefined;
  return Number(match?.groups?.['count']) * unitMs[unit];
}

/** A setting that is written as a duration between two bounds (both allowed) and read as a number of milliseconds. */
export function duration(bounds: { readonly min: string; readonly max: string }) {
  const min = parseDuration(bounds.min) ?? 0;
  const max = parseDuration(bounds.max) ?? 0;
  return z
    .string()
    .regex(spelling, {
      error: 'must be a duration: a whole number and a unit, such as 250ms, 2s, 5m or 1h',
      abort: true,
    })
    .refine((text) => isBetween(text, min, max), { error: `must be between ${bounds.min} and ${bounds.max}` })
    .transform((text) => parseDuration(text) ?? 0);
}

/** False for what is no duration: that has an error of its own. */
function isBetween(text: string, min: number, max: number): boolean {
  const value = parseDuration(text);
  return value !== undefined && value >= min && value <= max;
}
