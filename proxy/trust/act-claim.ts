import { isDeepStrictEqual } from 'node:util';
import { InvalidSpiffeId, SpiffeId } from '../spiffe/spiffe-id.ts';
import { isObject } from './strict-json.ts';
import { InvalidToken } from './strict-jws.ts';

/** One actor of a chain: `sub` and, where the token says it, the namespace `iss` that it belongs to. */
export interface Actor {
  readonly sub: string;
  readonly iss?: string;
}

const maxActors = 10;
const maxActBytes = 8 * 1024;

/**
 * The actors of an `act` claim, the current one first (RFC 8693 4.1). An absent or null `act` ends the chain. Throws
 * `InvalidToken('actor')` for an entry that names nobody, or a workload by what is no SPIFFE ID, more than 10 actors, or more than 8 KiB.
 * Only the first entry may be used for access decisions; the others are history.
 */
export function readActors(act: unknown): readonly Actor[] {
  const actors: Actor[] = [];
  for (let entry = act; entry !== undefined && entry !== null;) {
    if (!isObject(entry) || actors.length === maxActors) throw new InvalidToken('actor');
    const { sub, iss } = entry;
    if (typeof sub !== 'string' || sub === '' || !isOneSpelling(sub)) throw new InvalidToken('actor');
    if (iss !== undefined && typeof iss !== 'string') throw new InvalidToken('actor');
    actors.push(iss === undefined ? { sub } : { sub, iss });
    entry = entry['act'];
  }
  if (act !== undefined && Buffer.byteLength(JSON.stringify(act)) > maxActBytes) throw new InvalidToken('actor');
  return actors;
}

/**
 * Names of workloads are compared as texts, and by their beginning: `spiffe://example.org/team/../bot` would pass for one of the team, and
 * be another than the bot that was revoked.
 */
function isOneSpelling(sub: string): boolean {
  if (!sub.startsWith('spiffe://')) return true;
  try {
    SpiffeId.parse(sub);
    return true;
  } catch (error) {
    if (error instanceof InvalidSpiffeId) return false;
    throw error;
  }
}

/** Whether two `act` claims are the same chain, member for member: history is inherited whole or not at all. */
export function isSameAct(one: unknown, other: unknown): boolean {
  return isDeepStrictEqual(one ?? undefined, other ?? undefined);
}

/**
 * Whether `may_act` of a subject token lets one of these names act (RFC 8693 4.4): an object or a list of them. The issuer is
 * compared where both sides state one. No `may_act` restricts nobody.
 */
export function mayAct(claim: unknown, names: readonly Actor[]): boolean {
  if (claim === undefined || claim === null) return true;
  const allowed: readonly unknown[] = Array.isArray(claim) ? claim : [claim];
  return allowed.some((entry) => isObject(entry) && names.some((name) => matches(entry, name)));
}

/** Whether an actor of a token is one of these. The issuer is compared where both sides state one: a name means something in its namespace only. */
export function isOneOf(actor: Actor, names: readonly Actor[]): boolean {
  return names.some((name) => matches({ ...actor }, name));
}

function matches(entry: Readonly<Record<string, unknown>>, name: Actor): boolean {
  if (entry['sub'] !== name.sub) return false;
  return entry['iss'] === undefined || name.iss === undefined || entry['iss'] === name.iss;
}
