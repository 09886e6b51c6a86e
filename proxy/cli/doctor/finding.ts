import { setTimeout as sleep } from 'node:timers/promises';

/** What became of one thing that was looked at. `failed` will stop calls; `warning` may, or is likely a mistake; `info` is to know. */
export type FindingState = 'ok' | 'info' | 'warning' | 'failed';

/** One finding, for people and programs. Holds no secret: no content of a file but public keys, no value of a variable. */
export interface Finding {
  /** What kind of thing was looked at, such as `tool`. */
  readonly check: string;
  /** Which one, such as the name of the tool; empty where there is one only. */
  readonly subject: string;
  readonly state: FindingState;
  readonly message: string;
  /** What to do about it. */
  readonly advice?: string;
}

/** Longest wait of one step, milliseconds. */
export const stepMs = 3000;
/** Longest time of all checks together: two steps for the identity, one for what needs it, and a second for ourselves. */
export const totalMs = 10_000;

/** The findings of one check about one thing. */
export class Findings {
  readonly list: Finding[] = [];
  readonly #check: string;
  readonly #subject: string;

  constructor(check: string, subject: string) {
    this.#check = check;
    this.#subject = subject;
  }

  ok(message: string): void {
    this.#add('ok', message);
  }

  info(message: string): void {
    this.#add('info', message);
  }

  warn(message: string, advice: string): void {
    this.#add('warning', message, advice);
  }

  fail(message: string, advice: string): void {
    this.#add('failed', message, advice);
  }

  #add(state: FindingState, message: string, advice?: string): void {
    const [check, subject] = [this.#check, this.#subject];
    this.list.push({ check, subject, state, message, ...(advice === undefined ? {} : { advice }) });
  }
}

/**
 * Runs one check to its end, or for as long as all of them may take. What was found until then is kept; a check that breaks off is a
 * failure of what it looked at, never silence.
 */
export async function examine(
  check: string,
  subject: string,
  work: (found: Findings) => Promise<void>,
): Promise<readonly Finding[]> {
  const found = new Findings(check, subject);
  const late = sleep(totalMs, 'late');
  try {
    if ((await Promise.race([work(found), late])) === 'late')
      found.fail(
        `not done within ${totalMs / 1000} s`,
        'Try again; if that stays so, it is slower than any call may be.',
      );
  } catch (error) {
    found.fail(`could not be examined (${wordOf(error)})`, 'See the message; a sidecar would meet the same.');
  }
  return [...found.list];
}

/** Waits for one step. Rejects with `Late` where it takes longer. */
export async function inStep<T>(work: Promise<T>): Promise<T> {
  const cut = new AbortController();
  const late = sleep(stepMs, undefined, { signal: cut.signal }).then(
    () => {
      throw new Late();
    },
    () => new Promise<never>(() => undefined),
  );
  try {
    return await Promise.race([work, late]);
  } finally {
    cut.abort();
  }
}

/** A step took longer than it may. */
export class Late extends Error {
  constructor() {
    super(`no answer within ${stepMs / 1000} s`);
  }
}

/** A cause in few words: the code of the system, or a sentence that a room of ours wrote. Other texts may hold anything. */
export function wordOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown cause';
  if ('code' in error && typeof error.code === 'string') return error.code;
  return error.constructor === Error || error instanceof Late ? error.message : error.name;
}
