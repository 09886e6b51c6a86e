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
  if (found instanceof Promise) return found.then((way) => finish(permit, body, way, guard));
  return finish(permit, body, found, guard);
}

function finish(permit: ExitPermit, body: CallBody, way: Way, guard: EgressGuard): Routed {
  const { tool, target, request } = permit.attributed.call;
  if (target.origin.scheme === 'http') {
    const fault = findPlainFault(tool, way);
    if (fault !== undefined) throw new Refusal('address_forbidden', fault);
    if (mayBeAnybody(tool)) return new RoutedCall(permit, body, guard.chosenBy(request.socket, way));
  }
  return new RoutedCall(permit, body, way);
}

/** Whether the agent says at which port a tool with a credential is: it can listen at one of its own. Over https the certificate tells. */
function mayBeAnybody({ settings: { match, dial }, credentialed }: Tool): boolean {
  return credentialed && match.port === undefined && dial === undefined;
}

/**
 * Why this tool must not be called over plain http at this address; undefined where it may be. One sentence for the agent, which
 * stands under the title of `address_forbidden`; the doctor asks the same.
 */
export function findPlainFault(tool: Tool, { kind }: Way): string | undefined {
  const setting = findHttpsSetting(tool);
  if (setting !== undefined)
    return `No address is good for this tool over plain http; it is called over https only (tools.X.${setting}).`;
  // Whoever listens on the way would have the credential.
  return tool.credentialed && tool.settings.plaintext !== 'unsafe' && kind !== 'loopback'
    ? 'Over plain http a credential goes to an address of this machine only (tools.X.plaintext).'
    : undefined;
}

/** The setting by which a tool is called over https only: over plain http nobody proves anything, to whatever place the agent leads it. */
function findHttpsSetting({ settings: { match, tls, token }, credentialed }: Tool): string | undefined {
  // What listens there would get calls that are meant for that SPIFFE ID.
  if (tls.spiffe_id !== undefined) return 'tls.spiffe_id';
  // A token that is bound to our certificate is of no use where none can be shown.
  if (token?.proof === 'mtls') return 'token.proof';
  // It would get the credential that is meant for the holder of a certificate of that CA.
  if (credentialed && tls.ca !== undefined) return 'tls.ca';
  // The default counts for mounts alone; what is written counts for every call.
  return credentialed && match.scheme === 'https' ? 'match.scheme' : undefined;
}
