import type { TurnedAway } from './intercept/listener.ts';
import { FewEvents } from './record/few-events.ts';
import type { Trail } from './record/trail.ts';
import { Refusal } from './refusal.ts';
import type { World } from './world.ts';

/** Counts each connection that is turned away, and records a few of each kind: who scans the port must not fill the record. */
export function hearTurnedAway(
  way: 'in' | 'out',
  { world, nextCallId }: { readonly world: World; readonly nextCallId: () => string },
  trail: Trail,
): (connection: TurnedAway) => void {
  const told = new Map<TurnedAway['code'], FewEvents>();
  return ({ code, cause, peer, target }) => {
    const few = told.get(code) ?? new FewEvents(world.monotonic);
    told.set(code, few);
    const suppressed = few.next();
    if (suppressed === undefined) {
      trail.refusedSilently(way, code);
      return;
    }
    const connection = { cause, peer, suppressed: suppressed === 0 ? undefined : suppressed };
    trail.refused({ id: nextCallId(), way, refusal: new Refusal(code), status: 0, target, connection }, false);
  };
}
