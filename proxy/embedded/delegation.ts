/** One actor of a delegation (RFC 8693 4.1); `act` holds the actor before it, untouched. */
export interface Actor {
  readonly sub: string;
  readonly iss?: string;
  readonly act?: Actor;
}

/** Deepest chain that is issued; a longer one would be a loop between agents. */
export const maxActors = 10;

/** Puts a new current actor before those that acted until now. Undefined where the chain would be too long. */
export function delegate(actor: Actor, before: Actor | undefined): Actor | undefined {
  let length = 1;
  for (let earlier = before; earlier !== undefined; earlier = earlier.act) length += 1;
  if (length > maxActors) return undefined;
  const { sub, iss } = actor;
  return { ...(iss === undefined ? {} : { iss }), sub, ...(before === undefined ? {} : { act: before }) };
}

/** Whether a subject's `may_act` names this actor (RFC 8693 4.4): `sub`, and `iss` where it is given. No actor is nobody. */
export function mayAct(allowed: Actor, actor: Actor | undefined): boolean {
  if (actor === undefined || actor.sub !== allowed.sub) return false;
  return allowed.iss === undefined || allowed.iss === actor.iss;
}
