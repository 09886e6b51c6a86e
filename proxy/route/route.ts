import { Refusal } from '../refusal.ts';
import type { ExitPermit } from '../decide/permit.ts';
import type { CallBody } from '../intercept/body.ts';
import type { Tool } from '../intercept/tool-catalogue.ts';
import type { EgressGuard, Way } from './egress-guard.ts';

/** A permitted call whose way is known: a checked address, found before any token service was asked. */
class RoutedCall {
  readonly #made = true;
  readonly permit: ExitPermit;
  readonly body: CallBody;
  readonly way: Way;

  constructor(permit: ExitPermit, body: CallBody, way: Way) {
    this.permit = permit;
    this.body = body;
    this.way = way;
  }

  static isMade(value: object): boolean {
    return #made in value;
  }
}

export type Routed = RoutedCall;

/**
 * Finds the address that the call will be sent to. Stands before the exchange: a name that leads to a forbidden place costs no token
 * (W2), and what is checked here is what is dialled. The body is asked for, so that broken framing is found before as well.
 */
export function route(permit: ExitPermit, body: CallBody, guard: EgressGuard): Routed | Promise<Routed> {
  const { tool, target } = permit.attributed.call;
  const found = guard.find({
    host: target.origin.host,
    port: target.origin.port,
    addresses: tool.settings.addresses,
    dial: tool.settings.dial,
  });
  if (found instanceof Promise) return found.then((way) => finish(permit, body, way));
  return finish(permit, body, found);
}

function finish(permit: ExitPermit, body: CallBody, way: Way): Routed {
  const { tool, target } = permit.attributed.call;
  const fault = target.origin.scheme === 'http' ? findPlainFault(tool, way) : undefined;
  if (fault !== undefined) throw new Refusal('address_forbidden', fault);
  return new RoutedCall(permit, body, way);
}

/**
 * Why this tool must not be called over plain http at this address; undefined where it may be. One sentence for the agent, which
 * stands under the title of `address_forbidden`; the doctor asks the same.
 */
export function findPlainFault({ settings, credentialed }: Tool, { kind }: Way): string | undefined {
  // Over plain http nobody proves anything: what listens there would get calls that are meant for that SPIFFE ID.
  if (settings.tls.spiffe_id !== undefined) return httpsOnly('tls.spiffe_id');
  // A token that is bound to our certificate is of no use where none can be shown.
  if (settings.token?.proof === 'mtls') return httpsOnly('token.proof');
  // Whoever listens on the way would have the credential.
  return credentialed && settings.plaintext !== 'unsafe' && kind !== 'loopback'
    ? 'Over plain http a credential goes to an address of this machine only (tools.X.plaintext).'
    : undefined;
}

const httpsOnly = (setting: string): string =>
  `No address is good for this tool over plain http; it is called over https only (tools.X.${setting}).`;
