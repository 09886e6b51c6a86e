import { z } from 'zod';
import { keyOf, type Principal } from '../tasks/principals.ts';
import { isNameOfTxn } from '../tasks/revoked-txns.ts';
import type { RevokedElsewhere } from './kill-switch.ts';
import type { Revocable } from './revoke-request.ts';

/** An entry of the store as it came: who, and the time in milliseconds since the epoch. Whoever can write there may have made it. */
export interface StoreEntry {
  readonly member: string;
  readonly score: number;
}

/** A time of a store may be this much ahead of ours, milliseconds: beyond, it would lock a principal out for as long as it says. */
const maxAheadMs = 30_000;

const text = z.string().max(4096);
const written = z.union([
  z.tuple([z.literal('subject'), text, text]),
  z.tuple([z.literal('token'), text, text]),
  z.tuple([z.literal('agent'), text]),
  z.tuple([z.literal('tool'), text]),
  z.tuple([z.literal(['all', 'forgotten'])]),
]);

/** How a principal is named in the store: as in the file and in memory. */
export const memberOf: (principal: Principal) => string = keyOf;

/** What an entry of the cut-offs means; undefined where it is none of ours. A time ahead of ours counts as `maxAheadMs` ahead. */
export function readCutOff(entry: StoreEntry, nowMs: number): RevokedElsewhere | undefined {
  return made(entry, nowMs, principalOf(entry.member));
}

/** The same of the transactions. */
export function readTxn(entry: StoreEntry, nowMs: number): RevokedElsewhere | undefined {
  const { member: txn } = entry;
  return made(entry, nowMs, isNameOfTxn(txn) ? { kind: 'task', txn } : undefined);
}

function made({ score }: StoreEntry, nowMs: number, what: Revocable | undefined): RevokedElsewhere | undefined {
  if (what === undefined || Number.isNaN(score) || score < 0) return undefined;
  return { what, atMs: Math.floor(Math.min(score, nowMs + maxAheadMs)) };
}

function principalOf(member: string): Principal | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(member);
  } catch {
    return undefined;
  }
  const { data } = written.safeParse(parsed);
  switch (data?.[0]) {
    case 'subject':
      return { kind: 'subject', iss: data[1], sub: data[2] };
    case 'token':
      return { kind: 'token', iss: data[1], jti_hash: data[2] };
    case 'agent':
      return { kind: 'agent', id: data[1] };
    case 'tool':
      return { kind: 'tool', name: data[1] };
    case 'all':
    case 'forgotten':
      return { kind: data[0] };
    default:
      return undefined;
  }
}
