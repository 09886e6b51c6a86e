import type { World } from './world.ts';

/** How often the same is told. */
const tellEveryMs = 60_000;
/** Different things in a minute, beyond which no other is told: a service can answer in a hundred ways, and must not fill a disk by it. */
const maxKnown = 256;

/** Tells each thing at most once a minute: every call fails while a service is down, or a client secret is wrong. */
export function onceAMinute<T extends readonly unknown[]>(
  world: Pick<World, 'monotonic'>,
  tell: (...what: T) => void,
): (...what: T) => void {
  const silentUntilMs = new Map<string, number>();
  return (...what) => {
    const key = JSON.stringify(what);
    const now = world.monotonic();
    if (now < (silentUntilMs.get(key) ?? now)) return;
    if (silentUntilMs.size >= maxKnown)
      for (const [known, untilMs] of silentUntilMs) if (untilMs <= now) silentUntilMs.delete(known);
    if (silentUntilMs.size >= maxKnown && !silentUntilMs.has(key)) return;
    silentUntilMs.set(key, now + tellEveryMs);
    tell(...what);
  };
}

/** A state that is told as it changes, and as it is in the end. */
export interface ToldState {
  /** What it is now. */
  readonly set: (isWell: boolean) => void;
  readonly close: () => void;
}

/**
 * Tells a state when it is another than was told: at once, or, where that would be the third time in a minute, when the minute is over
 * and it still is. A state that flickers does not fill a log, and the last line about it is true.
 */
export function tellStates(world: Pick<World, 'monotonic'>, tell: (isWell: boolean) => void): ToldState {
  let now = true;
  let told = true;
  let quietUntilMs = world.monotonic();
  let later: NodeJS.Timeout | undefined;
  const tellNow = (): void => {
    clearTimeout(later);
    later = undefined;
    if (told === now) return;
    told = now;
    // Trouble and its end belong together: one pair a minute.
    if (!now) quietUntilMs = world.monotonic() + tellEveryMs;
    tell(now);
  };
  return {
    set(isWell) {
      now = isWell;
      const waitMs = isWell ? 0 : quietUntilMs - world.monotonic();
      if (waitMs <= 0) tellNow();
      else later ??= setTimeout(tellNow, waitMs).unref();
    },
    close: () => clearTimeout(later),
  };
}
