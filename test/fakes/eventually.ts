import { setTimeout as sleep } from 'node:timers/promises';

/** Waits until a condition holds, looking every 5 ms; says what was missing when it does not within the limit. */
export async function eventually(what: string, holds: () => boolean | Promise<boolean>, limitMs = 5000): Promise<void> {
  const end = performance.now() + limitMs;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`);
    await sleep(5);
  }
}
