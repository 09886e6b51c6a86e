import { Refusal } from '../refusal.ts';
import type { ExitPermit } from '../decide/permit.ts';
import type { CallBody } from '../intercept/body.ts';
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
  // Over plain http nobody proves anything: what listens there would get calls that are meant for that SPIFFE ID.
  if (target.origin.scheme === 'http' && tool.settings.tls.spiffe_id !== undefined) {
    throw new Refusal('address_forbidden', 'This tool is called over https only (tools.X.tls.spiffe_id).');
  }
  // A token that is bound to our certificate is of no use where none can be shown.
  if (target.origin.scheme === 'http' && tool.settings.token?.proof === 'mtls') {
    throw new Refusal('address_forbidden', 'This tool is called over https only (tools.X.token.proof).');
  }
  if (
    tool.credentialed &&
    target.origin.scheme === 'http' &&
    tool.settings.plaintext !== 'unsafe' &&
    way.kind !== 'loopback'
  ) {
    throw new Refusal(
      'address_forbidden',
      'Credentials are not sent over plain http to another host (tools.X.plaintext).',
    );
  }
  return new RoutedCall(permit, body, way);
}
