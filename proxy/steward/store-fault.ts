/** The store does not say what a store of a fleet says. The sentence is ours, and may be logged. */
export class StoreUnfit extends Error {
  override readonly name = 'StoreUnfit';
}

/** What a server of this protocol begins an error with. Anything else may be made up, or hold what we sent. */
const words: ReadonlySet<string> = new Set([
  'BUSY',
  'CLUSTERDOWN',
  'CROSSSLOT',
  'DENIED',
  'ERR',
  'EXECABORT',
  'LOADING',
  'MASTERDOWN',
  'MISCONF',
  'MOVED',
  'NOAUTH',
  'NOPERM',
  'NOREPLICAS',
  'OOM',
  'READONLY',
  'TRYAGAIN',
  'WRONGPASS',
  'WRONGTYPE',
]);

/** With which word a server refused a command; undefined for any other error. Of a transaction, why it was not carried out. */
export function wordOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const causes: unknown = 'previousErrors' in error ? error.previousErrors : undefined;
  const [cause = error]: unknown[] = Array.isArray(causes) ? causes : [];
  const word = cause instanceof Error ? cause.message.split(' ')[0] : undefined;
  return word !== undefined && words.has(word) ? word : undefined;
}

/** Messages of the client hold what it sent, and that may be a password: only our own sentences, and codes, are told. */
export function storeFacts(error: unknown): Record<string, unknown> {
  if (error instanceof StoreUnfit) return { reason: error.message };
  if (!(error instanceof Error)) return { error: typeof error };
  const code = 'code' in error && typeof error.code === 'string' ? error.code : wordOf(error);
  return { error: error.name, code: /^[A-Z0-9_]{2,64}$/.test(code ?? '') ? code : undefined };
}
