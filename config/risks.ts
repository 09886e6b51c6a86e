import { z } from 'zod';

/** From harmless to grave. */
const riskOrder = ['read', 'write', 'deploy', 'payment', 'export'] as const;

/** The worst that a call can do. */
export const risk = z.enum(riskOrder);

/** Whether the first is graver than the second; a word that is no risk is never graver. */
export function isGraver(one: string, other: string): boolean {
  const order: readonly string[] = riskOrder;
  return order.includes(other) && order.indexOf(one) > order.indexOf(other);
}
