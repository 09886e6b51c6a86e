import { isDeepStrictEqual } from 'node:util';
import { isObject } from '../trust/strict-json.ts';
import { Rejection } from './rejection.ts';

/** What is asked for beyond scopes (RFC 9396 2): objects with a `type`. */
export type AuthorizationDetails = readonly Readonly<Record<string, unknown>>[];

/**
 * Details of an answer or a token, none of which may be wider than one that was asked for: of the same type, with the same members, lists
 * no longer. A member more is refused too, since only its type says whether it narrows. Throws `Rejection('authorization_details')`.
 */
export function checkDetails(value: unknown, asked: AuthorizationDetails = []): void {
  if (value === undefined) return;
  if (!Array.isArray(value) || !value.every((granted) => asked.some((wanted) => isNoWider(granted, wanted))))
    throw new Rejection('authorization_details');
}

function isNoWider(granted: unknown, asked: Readonly<Record<string, unknown>>): boolean {
  if (!isObject(granted)) return false;
  const names = Object.keys(asked);
  if (Object.keys(granted).length !== names.length) return false;
  return names.every((name) => Object.hasOwn(granted, name) && isPart(granted[name], asked[name]));
}

/** An empty list often means "no limit", so it is no part of a longer one. */
function isPart(granted: unknown, asked: unknown): boolean {
  if (!Array.isArray(asked) || !Array.isArray(granted)) return isDeepStrictEqual(granted, asked);
  if (granted.length === 0 && asked.length > 0) return false;
  return granted.every((one) => asked.some((other) => isDeepStrictEqual(one, other)));
}
