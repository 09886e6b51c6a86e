import { destination, pino, type Logger } from 'pino';

/** The process's own log: what an operator reads when something is wrong. Calls are in the record, not here. */
export type ProcessLog = Logger;

/** JSON lines on standard error, written at once: standard output may be the record. */
export function openProcessLog(): ProcessLog {
  return pino({ base: { name: 'waybill' } }, destination({ fd: 2, sync: true }));
}

/**
 * What may be logged of an unexpected error: its kind and where it happened. Never its message, since libraries quote what they were
 * given, and that may be a token (W8).
 */
export function faultFacts(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { error: typeof error };
  const code =
    'code' in error && typeof error.code === 'string' && /^[A-Z0-9_]{1,64}$/.test(error.code) ? error.code : undefined;
  const frames = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  return { error: error.name, code, at: frames.slice(0, 8).map((line) => line.trim()) };
}
