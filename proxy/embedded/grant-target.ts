import { InvalidScope, InvalidTarget } from 'oidc-provider/lib/helpers/errors.js';

/** A protected resource that tokens can be issued for. */
export interface ServiceResource {
  /** Absolute URI (RFC 8707); what the parameter `resource` names. */
  readonly resource: string;
  /** Logical name (RFC 8693 2.1); the parameter `audience` may name this or the URI. */
  readonly audience?: string;
  /** Every scope that the resource knows; a token for it never has another. */
  readonly scopes: readonly string[];
  /** The client that stands behind the resource: it may exchange tokens that were issued for it. */
  readonly client?: string;
}

/** Where a token is to be used: `audience` exactly as asked, and every scope that one of the resources knows. */
export interface GrantTarget {
  readonly audience: readonly string[];
  readonly scopes: ReadonlySet<string>;
}

/**
 * Finds the resources that a token request names. Throws `invalid_target` for an unknown one, and when there is none: a token for
 * nowhere in particular is a token for everywhere.
 */
export function findTarget(
  resources: readonly ServiceResource[],
  named: { readonly resource: readonly string[]; readonly audience: readonly string[] },
): GrantTarget {
  const audience = new Set<string>();
  const scopes = new Set<string>();
  const take = (name: string, found: ServiceResource | undefined): void => {
    if (found === undefined) throw new InvalidTarget('no such resource or audience');
    audience.add(name);
    for (const scope of found.scopes) scopes.add(scope);
  };
  for (const uri of named.resource) {
    const found = resources.find((entry) => entry.resource === uri);
    take(uri, found);
  }
  // A client may name one resource both ways (URI and logical name); then both are in `aud`, since the tool may look for either.
  for (const name of named.audience) {
    const found = resources.find((entry) => entry.audience === name || entry.resource === name);
    take(name, found);
  }
  if (audience.size === 0) throw new InvalidTarget('name a resource or an audience');
  return { audience: [...audience], scopes };
}

/**
 * The scopes to grant: what was asked for, if target and every bound allow all of it (else `invalid_scope`: never silently less);
 * without a request, what they have in common. A resource without scopes gets a token without.
 */
export function narrowScopes(
  requested: string | undefined,
  target: GrantTarget,
  bounds: readonly ReadonlySet<string>[],
): readonly string[] {
  const allowed = (scope: string): boolean => target.scopes.has(scope) && bounds.every((bound) => bound.has(scope));
  if (requested !== undefined) {
    const asked = [...new Set(requested.split(' '))];
    const refused = asked.find((scope) => !allowed(scope));
    if (refused !== undefined)
      throw new InvalidScope('wider than the subject, the client or the resource allows', refused);
    return asked;
  }
  const common = [...target.scopes].filter(allowed);
  if (common.length === 0 && target.scopes.size > 0) {
    throw new InvalidScope('nothing is left that subject, client and resource have in common');
  }
  return common;
}
