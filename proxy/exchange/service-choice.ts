import type { Tool } from '../intercept/tool-catalogue.ts';
import { Refusal } from '../refusal.ts';
import type { Routed } from '../route/route.ts';
import type { World } from '../world.ts';
import type { ServedBy } from './credential.ts';
import { type AskTool, findAuthorizationServers, MetadataUnusable, ToolSilent } from './resource-metadata.ts';

export interface ServiceChoiceOptions {
  /** Issuer of each token service, by its name in the configuration. */
  readonly issuers: ReadonlyMap<string, string>;
  readonly ask: AskTool;
  readonly world: World;
  /** Hears of a tool that names none of its services. `wanted`: for the log of the process only, and short. */
  onUnlisted(tool: string, wanted: readonly string[]): void;
}

/** What is known of a tool at an origin. */
interface Kept {
  readonly served: ServedBy | undefined;
  /** Set while there is nothing better to say: what calls are told. */
  readonly refusal: Refusal | undefined;
  /** Until then the tool is not asked again. */
  readonly untilMs: number;
  /** Until then `served` counts, even if the tool does not answer. */
  readonly servedUntilMs: number;
}

/** A tool that said where it belongs is asked again after this time. */
const keepMs = 600_000;
/** While it does not answer, its last word counts this long. */
const staleMs = 3_600_000;
/** A tool that gave an answer of no use is not asked again for this long. */
const retryMs = 10_000;
/** One that gave none. */
const silentMs = 1000;
/** The ports of a tool are the agent's choice, where its `match` names none. */
const maxKept = 1024;

/**
 * Which token service a tool takes tokens of. Where the configuration names one, it is that one, and nobody is asked. Where it names
 * several, the tool's own metadata says which (RFC 9728): the first of ours whose issuer it names, letter for letter. A service that
 * the configuration does not name for this tool is never used and never asked: else a tool could steer our assertions and the
 * user's token to a server of its own.
 */
export class ServiceChoice {
  readonly #options: ServiceChoiceOptions;
  readonly #kept = new Map<string, Kept>();
  readonly #flights = new Map<string, Promise<void>>();

  constructor(options: ServiceChoiceOptions) {
    this.#options = options;
  }

  /** Sees that the service of a routed call is known: at once, or by asking the tool. Throws or rejects with a `Refusal`. */
  settle(routed: Routed): void | Promise<void> {
    const { tool, target } = routed.permit.attributed.call;
    if (tool.settings.token === undefined || tool.settings.token.from.length === 1) return;
    const key = keyOf(tool, target.origin.text);
    const kept = this.#kept.get(key);
    const now = this.#options.world.monotonic();
    if (kept !== undefined && now < kept.untilMs) {
      if (kept.refusal !== undefined) throw kept.refusal;
      return;
    }
    const flight = this.#ask(routed, key);
    if (kept?.served === undefined || now >= kept.servedUntilMs) return flight;
    // In the background: the call goes on with what the tool said before. What comes of it, the next call is told.
    flight.catch(() => undefined);
  }

  /** Whoever comes while the tool is being asked waits for that answer. */
  #ask(routed: Routed, key: string): Promise<void> {
    let flight = this.#flights.get(key);
    if (flight === undefined) {
      flight = this.#find(routed, key).finally(() => this.#flights.delete(key));
      this.#flights.set(key, flight);
    }
    return flight;
  }

  /**
   * The service of a tool at an origin, after `settle`. Throws a `Refusal` where it is known no more: while a call waits for its transaction
   * token, the tool may say something else, or the agent call it at more ports than are kept.
   */
  servedBy(tool: Tool, toolOrigin: string): ServedBy {
    const { token } = tool.settings;
    const [only, ...others] = token?.from ?? [];
    if (only === undefined) throw new Error('a service for a tool without token');
    if (others.length === 0) return this.#named(only);
    const kept = this.#kept.get(keyOf(tool, toolOrigin));
    if (kept?.served !== undefined) return kept.served;
    throw kept?.refusal ?? new Refusal('token_service_unavailable', notKnown);
  }

  async #find(routed: Routed, key: string): Promise<void> {
    const { tool, target } = routed.permit.attributed.call;
    const { ask, world } = this.#options;
    // On such a path anybody could answer in the tool's place.
    if (target.origin.scheme === 'http' && routed.way.kind !== 'loopback') {
      throw new Refusal('exchange_refused', 'Which token service the tool takes is asked over https only.');
    }
    try {
      const servers = await findAuthorizationServers(routed, ask, world);
      const name = tool.settings.token?.from.find((own) => servers.includes(this.#named(own).issuer));
      if (name === undefined) this.#options.onUnlisted(tool.name, shortNames(servers));
      this.#keep(
        key,
        name === undefined
          ? refuse(tool, 'takes tokens of no token service that is configured for it')
          : this.#named(name),
      );
    } catch (error) {
      if (error instanceof MetadataUnusable) this.#keep(key, refuse(tool, 'does not say which token service it takes'));
      else if (error instanceof ToolSilent) this.#keepSilence(key);
      else throw error;
    }
    const refusal = this.#kept.get(key)?.refusal;
    if (refusal !== undefined) throw refusal;
  }

  #keep(key: string, found: ServedBy | Refusal): void {
    const now = this.#options.world.monotonic();
    const kept =
      found instanceof Refusal
        ? {
            served: undefined,
            refusal: found,
            untilMs: now + (found.kind.retryable ? silentMs : retryMs),
            servedUntilMs: now,
          }
        : { served: found, refusal: undefined, untilMs: now + keepMs, servedUntilMs: now + staleMs };
    this.#kept.delete(key);
    this.#kept.set(key, kept);
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= maxKept) break;
      this.#kept.delete(oldest);
    }
  }

  /** No answer is not another answer: what the tool said last counts for a while. */
  #keepSilence(key: string): void {
    const now = this.#options.world.monotonic();
    const kept = this.#kept.get(key);
    if (kept?.served !== undefined && now < kept.servedUntilMs) {
      this.#kept.set(key, { ...kept, untilMs: now + retryMs });
      return;
    }
    this.#keep(key, new Refusal('upstream_unreachable', 'The tool does not say which token service it takes.'));
  }

  #named(service: string): ServedBy {
    return { service, issuer: this.#options.issuers.get(service) ?? '' };
  }
}

const notKnown = 'Which token service the tool takes has to be asked anew; try again.';

function keyOf(tool: Tool, toolOrigin: string): string {
  return `${toolOrigin} ${tool.name}`;
}

function refuse({ name }: Tool, what: string): Refusal {
  return new Refusal('exchange_refused', `The tool "${name}" ${what}.`);
}

/**
 * Origins that a tool named, for the log: at most four. A tool has seen tokens and could spell one as a name, so no part of a name is
 * shown that could hold 16 characters of it (W8).
 */
function shortNames(servers: readonly string[]): readonly string[] {
  return servers.slice(0, 4).map((server) => {
    const url = URL.parse(server);
    const isShort = url !== null && url.host.length <= 100 && url.host.split('.').every((label) => label.length < 16);
    return isShort ? `${url.protocol}//${url.host}` : 'a name that is too long to be shown';
  });
}
