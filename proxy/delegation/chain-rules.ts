import { digestOf, type Link } from './link.ts';
import { isNarrower } from './may.ts';

/**
 * Whether links, oldest first, are one chain that was neither cut nor put together from others (DESIGN 6): the subject never changes,
 * authority and end only shrink, no hop comes twice. Says nothing about signatures, and nothing about the end of the chain.
 */
export function isUnbroken(links: readonly Link[]): boolean {
  const hops = new Set(links.map(({ claims }) => claims.iss));
  return hops.size === links.length && links.every((link, index) => follows(link, links[index - 1]));
}

/** The first link has the root, which is its subject; every other continues the one before. A link has either `root` or `prev`. */
function follows({ claims }: Link, before: Link | undefined): boolean {
  if (before === undefined) return claims.root?.sub === claims.sub && claims.root.iss === claims.sub_iss;
  const { claims: earlier } = before;
  return (
    claims.prev === digestOf(before.text) &&
    // The hash binds the texts; what follows is what no honest hop would have signed behind the one before.
    claims.sub === earlier.sub &&
    claims.sub_iss === earlier.sub_iss &&
    isNarrower(claims.may, earlier.may) &&
    claims.exp <= earlier.exp
  );
}
