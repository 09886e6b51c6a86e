import type { World } from '../world.ts';

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
