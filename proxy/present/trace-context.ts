import type { World } from '../world.ts';

/** Members that a list may have (W3C Trace Context 3.3.1). */
const maxMembers = 32;
/** Characters that everybody has to pass on (3.3.1.5). OpenTelemetry's propagators for Node.js and Java drop a longer list whole. */
const maxLength = 512;
/** Members longer than this go first, where some have to go (3.3.1.5). */
const longMember = 128;

/**
 * The caller's headers with the mark of the task as the first member of `tracestate`, where whoever wrote last stands (3.5). Propagators
 * read no `tracestate` without a `traceparent`, so where the caller sent none, a trace begins here: sampled, as it would be if it began
 * in the program.
 * @param forward names and values, flat; a trace in it can be read.
 */
export function withTraceMark(forward: readonly string[], mark: string, random: World['random']): string[] {
  const kept: string[] = [];
  const members: string[] = [];
  let hasParent = false;
  for (let at = 0; at < forward.length; at += 2) {
    const name = forward[at] ?? '';
    const value = forward[at + 1] ?? '';
    if (name.length === 10 && name.toLowerCase() === 'tracestate') {
      members.push(...value.split(',').map((member) => member.trim()));
      continue;
    }
    if (name.length === 11 && name.toLowerCase() === 'traceparent') hasParent = true;
    kept.push(name, value);
  }
  if (hasParent) {
    kept.push('tracestate', fitting(`waybill=${mark}`, members));
    return kept;
  }
  const traceparent = `00-${random(16).toString('hex')}-${random(8).toString('hex')}-01`;
  // What stood beside a trace that is not there belongs to none (4.2).
  kept.push('traceparent', traceparent, 'tracestate', `waybill=${mark}`);
  return kept;
}

/** Ours, and of the others as many as the limits allow: long ones go first, then those at the end. */
function fitting(own: string, members: readonly string[]): string {
  const others = members.filter((member) => member !== '');
  for (let at = others.length - 1; at >= 0 && !fits(own, others); at -= 1)
    if ((others[at] ?? '').length > longMember) others.splice(at, 1);
  while (!fits(own, others)) others.pop();
  return [own, ...others].join(',');
}

function fits(own: string, others: readonly string[]): boolean {
  return others.length < maxMembers && others.reduce((sum, { length }) => sum + 1 + length, own.length) <= maxLength;
}
