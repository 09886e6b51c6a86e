import { destination, pino, type Logger } from 'pino';

/** The process's own log: what an operator reads when something is wrong. Calls are in the record, not here. */
export type ProcessLog = Logger;

/** What is held of lines that could not be written, bytes: they are written with the next one that can be, and more of them are lost. */
const heldBytes = 65_536;

/**
 * JSON lines on standard error, written at once: standard output may be the record. Where they cannot be written, the process lives on
 * without them: a disk or a pipe that somebody filled would else end every sidecar beside it, and it is the record that refuses calls then.
 */
export function openProcessLog(): ProcessLog {
  // Touching process.stderr makes a pipe or a socket non-blocking. Who started us and reads no further would else stop every call, and
  // with them the end of tasks and the answer of the health check, once 64 KiB of messages stand in it.
  const { fd } = process.stderr;
  const lines = destination({ fd, sync: true, maxLength: heldBytes, retryEAGAIN: () => false });
  lines.on('error', () => undefined);
  return pino({ base: { name: 'waybill' } }, lines);
}

/**
 * What may be logged of an unexpected error: its kind and where it happened. Never its message, since libraries quote what they were
 * given, and that may be a token (W8).
 */
export function faultFacts(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { error: typeof error };
  const frames = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  return { error: error.name, code: codeOf(error), at: frames.slice(0, 8).map((line) => line.trim()) };
}

/** The code of an error, of the system, of TLS or of a refusal of ours: without the words beside it, which may quote an address or a token. */
export function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return undefined;
  // OpenSSL 3.5 has a slash in its names (`ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE`).
  return /^[\w/]{1,64}$/.test(error.code) ? error.code : undefined;
}
