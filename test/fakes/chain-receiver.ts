import { ChainFault, checkChain, formatChain, type ExpectedChain } from '../../proxy/delegation/chain.ts';
import { chainAlong, openPath, subject, tool, type Change, type Hop } from './delegation-hops.ts';

export const limits = { maxLinks: 5, maxBytes: 16_384 };

/** The tool at the end of a path of three hops, at one moment. */
export interface Receiver {
  readonly nowMs: number;
  readonly authority: Awaited<ReturnType<typeof openPath>>['authority'];
  /** All five that have an SVID. */
  readonly hops: readonly Hop[];
  /** Planner, worker and clerk. */
  readonly three: readonly [Hop, Hop, Hop];
  /** The links of an honest chain along the three. */
  readonly honest: readonly [string, string, string];
  readonly authoritiesOf: ExpectedChain['authoritiesOf'];
  /** What the tool expects of a request that the last hop made. */
  readonly expecting: (last: Hop, changes?: Partial<ExpectedChain>) => ExpectedChain;
  /** `ok`, or why the chain is refused; the clerk is expected unless told otherwise. */
  readonly outcome: (value: string | undefined, expected?: ExpectedChain) => string;
  /** A chain along the three with claims changed by index. */
  readonly changed: (changes: Readonly<Record<number, Change>>) => string;
}

export async function openReceiver(nowMs: number = Date.now()): Promise<Receiver> {
  const { authority, hops, authoritiesOf } = await openPath();
  const three = hops.slice(0, 3) as [Hop, Hop, Hop];
  const expecting: Receiver['expecting'] = (last, changes = {}) => ({
    subject,
    resource: tool,
    presenter: { jkt: last.jkt },
    nowMs,
    limits,
    authoritiesOf,
    ...changes,
  });
  return {
    nowMs,
    authority,
    hops,
    three,
    honest: chainAlong(three, {}, nowMs) as [string, string, string],
    authoritiesOf,
    expecting,
    outcome(value, expected = expecting(three[2])) {
      try {
        checkChain(value, expected);
        return 'ok';
      } catch (error) {
        if (error instanceof ChainFault) return error.reason;
        throw error;
      }
    },
    changed: (changes) => formatChain(chainAlong(three, changes, nowMs)),
  };
}
