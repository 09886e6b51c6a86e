import { isObject } from '../trust/strict-json.ts';

/** From harmless to grave: the order of `risk` in the configuration. */
const risks = ['read', 'write', 'deploy', 'payment', 'export'] as const;

/** The worst that a call may do. */
export type Risk = (typeof risks)[number];

/** What a link allows of everything that happens behind it (DESIGN 6). */
export interface May {
  /** Resources that may be called, as they stand in `aud`. */
  readonly resources: readonly string[];
  readonly risk: Risk;
  /** Links that may still follow. */
  readonly hops: number;
}

const maxResources = 64;

/** Reads the claim `may`; undefined if it is malformed. A limit that we do not know cannot be kept, so there is none beside the three. */
export function readMay(value: unknown): May | undefined {
  if (!isObject(value) || Object.keys(value).length !== 3) return undefined;
  const { resources, risk, hops } = value;
  if (!isRisk(risk) || typeof hops !== 'number' || !Number.isSafeInteger(hops) || hops < 0) return undefined;
  if (!isTexts(resources) || resources.length === 0 || resources.length > maxResources) return undefined;
  return { resources, risk, hops };
}

/** Whether a link may allow `inner` behind one that allows `outer`: nothing more, and at least one hop less. */
export function isNarrower(inner: May, outer: May): boolean {
  const isKnown = inner.resources.every((resource) => outer.resources.includes(resource));
  return isKnown && !isGraver(inner.risk, outer.risk) && inner.hops < outer.hops;
}

/** Cuts `wanted` down to what may stand behind a link that allows `outer`, which has a hop left and one resource in common. */
export function narrow(wanted: May, outer: May): May {
  return {
    resources: wanted.resources.filter((resource) => outer.resources.includes(resource)),
    risk: isGraver(wanted.risk, outer.risk) ? outer.risk : wanted.risk,
    hops: Math.min(wanted.hops, outer.hops - 1),
  };
}

/** Whether the first risk is graver than the second. */
function isGraver(one: Risk, other: Risk): boolean {
  return risks.indexOf(one) > risks.indexOf(other);
}

function isRisk(value: unknown): value is Risk {
  return risks.some((risk) => risk === value);
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((member) => typeof member === 'string' && member !== '');
}

/** Why a call is not within what was delegated. */
export type Excess = 'hops_used_up' | 'resource_not_delegated' | 'risk_not_delegated';

/** What a call to a tool has too much of; undefined where it is within. Narrowed in a link only, the call itself would still do it. */
export function excessOf(may: May, { resource, risk }: { resource: string; risk: Risk }): Excess | undefined {
  if (may.hops < 1) return 'hops_used_up';
  if (!may.resources.includes(resource)) return 'resource_not_delegated';
  return isGraver(risk, may.risk) ? 'risk_not_delegated' : undefined;
}
