/** What the chain needs of an event. */
export interface EventLine {
  readonly seq: number;
  readonly boot: string;
  readonly prev: string;
  readonly event: string;
  /** `id` and `attempt` of `call.admitted` and `call.ended`. */
  readonly call: string | undefined;
  /** All members, as they stand there. */
  readonly members: Readonly<Record<string, unknown>>;
}

/** Reads one line of the record. Undefined where it is no JSON, or no event. */
export function parseEventLine(text: string): EventLine | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null || !('seq' in value && 'boot' in value)) return undefined;
  if (!('prev' in value && 'event' in value)) return undefined;
  const { seq, boot, prev, event } = value;
  if (typeof seq !== 'number' || !Number.isSafeInteger(seq) || typeof boot !== 'string') return undefined;
  // Names of boots are printed: a file from elsewhere must not speak to the terminal.
  if (typeof prev !== 'string' || typeof event !== 'string' || !/^[A-Za-z0-9_-]{1,64}$/.test(boot)) return undefined;
  return { seq, boot, prev, event, call: callOf(value), members: { ...value } };
}

/**
 * Whether a line is one of our process log, which stands between events where both streams are collected together. One with a `seq` is
 * never: no line that the chain counts is passed over, so what is put in the place of an event leaves a gap.
 */
export function isProcessLogLine(line: Buffer): boolean {
  // As pino begins each; most lines are events, and are parsed once.
  if (line.toString('latin1', 0, 9) !== '{"level":') return false;
  try {
    const value: unknown = JSON.parse(line.toString('utf8'));
    if (typeof value !== 'object' || value === null || 'seq' in value) return false;
    return 'level' in value && typeof value.level === 'number' && 'name' in value && value.name === 'waybill';
  } catch {
    return false;
  }
}

/** Whether a line that was not finished can be the beginning of one of our process log, as far as it goes, and of no event. */
export function couldBeginProcessLogLine(line: Buffer): boolean {
  const text = line.toString('utf8', 0, 100);
  const head = text.replace(/^\{"level":\d+(?:,"time":\d+)?/, (numbers) => numbers.replaceAll(/\d+/g, '0'));
  return text.startsWith('{"l') && agree(head, '{"level":0,"time":0,"name":"waybill",');
}

/** Of both events the same text, so that an end finds its beginning. */
function callOf(value: object): string | undefined {
  if (!('id' in value && 'attempt' in value)) return undefined;
  return typeof value.id === 'string' ? `${value.id} ${String(value.attempt)}` : undefined;
}

/** What stands before the line that begins a boot. */
export const genesis = '0'.repeat(64);

/** The boot that the beginning of a line names; empty where it does not get that far. */
export function bootOf(text: string): string {
  return /^\{"seq":\d+,"boot":"(?<boot>[A-Za-z0-9_-]+)"/.exec(text)?.groups?.['boot'] ?? '';
}

/** Whether a text can be the beginning of the event with this number and hash before it; `boot` undefined: of any boot. */
export function couldBegin(text: string, seq: number, boot: string | undefined, prev: string): boolean {
  const match = /^\{"seq":\d+,"boot":"(?<boot>[A-Za-z0-9_-]*)"/.exec(text);
  const head = `{"seq":${seq},"boot":"${boot ?? match?.groups?.['boot'] ?? ''}`;
  // A fragment that ends within the name of an unknown boot has nothing more to compare.
  if (boot === undefined && match === null)
    return /^[A-Za-z0-9_-]*$/.test(text.slice(head.length)) && agree(text, head);
  return agree(text, `${head}","prev":"${prev}",`);
}

/** One is the beginning of the other. */
function agree(text: string, head: string): boolean {
  return text.startsWith(head) || head.startsWith(text);
}
