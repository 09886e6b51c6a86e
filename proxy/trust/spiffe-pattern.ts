/** Which SPIFFE IDs are meant: one, or with `below` also all below it by whole segments. */
export interface SpiffePattern {
  readonly id: string;
  readonly below: boolean;
}

/** Whether a SPIFFE ID is meant: `planner` is not `planner2`. */
export function isMeant(spiffeId: string, { id, below }: SpiffePattern): boolean {
  return spiffeId === id || (below && spiffeId.startsWith(`${id}/`));
}
