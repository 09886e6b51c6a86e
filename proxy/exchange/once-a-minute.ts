import type { World } from '../world.ts';

/** How often the same is told. */
const tellEveryMs = 60_000;
/** Places that a service names in its metadata may change; a list of them that grows is none that anybody reads. */
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
    if (silentUntilMs.size >= maxKnown) silentUntilMs.clear();
    silentUntilMs.set(key, now + tellEveryMs);
    tell(...what);
  };
}
