import type { InboundSettings } from './inbound.ts';
import type { Settings } from './settings.ts';

/** Of the way in and of chains: what is allowed, and likely not what was meant. */
export function findInboundWarnings(settings: Settings): readonly string[] {
  return [
    ...(settings.inbound === undefined
      ? findLonelyListener(settings)
      : [
          ...findDeadCallers(settings.inbound, settings),
          ...findIdleSwitches(settings.inbound),
          ...findStuckSubjects(settings.inbound, settings),
        ]),
    ...findLooseChains(settings),
  ];
}

/** Somebody who names the listener expects that it listens. */
function findLonelyListener({ listen: { inbound } }: Settings): readonly string[] {
  return inbound.address === '0.0.0.0' && inbound.port === 15_006
    ? []
    : ['listen.inbound: there is no way in without the table `inbound`.'];
}

/** Callers that nothing in a request can name (`callerOf` of the way in: certificate, else last link, else outermost actor). */
function findDeadCallers(inbound: InboundSettings, { trust }: Settings): readonly string[] {
  const callers = inbound.callers ?? [];
  // A certificate or a link is then always there, and both are checked with the bundle of their own domain.
  if (inbound.client_certificates === 'require' || inbound.chain.require) {
    return callers
      .filter(({ id }) => !trust.domains.has(id.split('/')[2] ?? ''))
      .map(
        ({ id }) => `inbound.callers: the trust domain of ${id} is not in \`trust.domains\`; it cannot be verified.`,
      );
  }
  // Where some callers have neither, a token may name an actor of any domain.
  return callers.length > 0 && inbound.client_certificates === 'off'
    ? [
        'inbound.callers: no client certificates are asked for, so a caller without a delegation chain and without an `act` claim in its token is refused.',
      ]
    : [];
}

/** Tools that are to be called for callers whose tokens no exchange takes: the keys that those are bound to stay with the callers. */
function findStuckSubjects(inbound: InboundSettings, settings: Settings): readonly string[] {
  // With `original` the program gets no handle, so it calls nobody in the task of a request.
  const isAgent = inbound.present !== 'original' && inbound.present !== 'unsafe_original';
  if (!isAgent || !inbound.accept.some(({ proof }) => proof === 'dpop')) return [];
  const tools = [...settings.tools.values()].filter((tool) => tool.on_behalf_of === 'user');
  return [...settings.token_services.values()].flatMap(({ name, bound_subject: bound, actor }) => {
    const isServed = ({ token }: (typeof tools)[number]): boolean =>
      token !== undefined && (token.granted_by === undefined ? token.from.includes(name) : token.granted_by === name);
    const served = tools.filter(isServed).map((tool) => tool.name);
    if (served.length === 0 || (bound === 'accept' && actor !== 'none')) return [];
    const why =
      bound === 'refuse'
        ? 'takes no subject token that is bound to a key (`bound_subject: refuse`, as with `profile: keycloak`), and those of callers with `proof: dpop` are'
        : 'has no `actor`, and most services exchange a token that is bound to the key of a caller (`proof: dpop`) only for a client that shows who it is';
    return [`token_services.${name}: ${why}; calls for such callers to ${served.join(', ')} will be refused.`];
  });
}

function findIdleSwitches(inbound: InboundSettings): readonly string[] {
  const { unsafe_plaintext: isPlaintext, tls, inert_alg: alg, present } = inbound;
  return [
    ...(isPlaintext && tls !== 'off'
      ? ['inbound.unsafe_plaintext: has no effect, since the way in has TLS; remove it.']
      : []),
    ...(alg !== 'ES256' && present !== 'inert-jwt'
      ? [`inbound.inert_alg: has no effect with \`present: ${present}\`; remove it.`]
      : []),
  ];
}

/** A chain that no proof binds to its request is a statement that whoever sees it can repeat. */
function findLooseChains(settings: Settings): readonly string[] {
  return [...settings.tools.values()]
    .filter((tool) => tool.token?.proof === 'none')
    .flatMap((tool) => {
      if (tool.chain === 'full') {
        return [`tools.${tool.name}.chain: without \`token.proof\` whoever sees the chain there can send it again.`];
      }
      return tool.delegate === undefined || tool.chain !== undefined
        ? []
        : [`tools.${tool.name}.delegate: no chain goes to a bearer tool unless \`chain\` is full.`];
    });
}
