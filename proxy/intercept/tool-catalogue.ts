import { isDeepStrictEqual } from 'node:util';
import type { ToolSettings } from '../../config/tools.ts';
import { sidecarName } from '../tasks/handle-text.ts';
import { defaultPort, normalHost } from './authority.ts';
import { compilePathPattern, type PathPattern } from './path-pattern.ts';

/** A destination of the configuration, compiled for matching. */
export interface Tool {
  readonly name: string;
  readonly settings: ToolSettings;
  /** Exact host in normal form, or a suffix beginning with a dot (`*.example.org`), or empty for `*`. */
  readonly host: string;
  readonly credentialed: boolean;
  /** How far the tool's credential is tied to its path (DESIGN 7). */
  readonly binding: 'key' | 'audience' | 'static' | 'none';
  /** The longest first. */
  readonly paths: readonly PathPattern[];
  /** Further headers, in lower case, in which the agent may send its handle, and which do not reach the tool as it sent them. */
  readonly headers: readonly string[];
  /** Where a mount leads: the scheme and port that the configuration implies. */
  readonly mount: { readonly scheme: 'http' | 'https'; readonly port: number };
}

/** The tools of the configuration, found by destination. */
export interface ToolCatalogue {
  /**
   * Tools whose host and port fit, the most specific first: the more exact host, then a named port, then the earlier line. Their
   * paths are compared by `findTool`. Empty for an unlisted destination.
   */
  at(host: string, port: number): readonly Tool[];
  named(name: string): Tool | undefined;
  readonly tools: readonly Tool[];
}

/** Compiles the tools. @param before those of the configuration until now: one that is as it was stays the same object. */
export function buildToolCatalogue(
  settings: ReadonlyMap<string, ToolSettings>,
  before: readonly Tool[] = [],
): ToolCatalogue {
  const asBefore = (name: string, tool: ToolSettings): Tool | undefined =>
    before.find((other) => other.name === name && isDeepStrictEqual(other.settings, tool));
  const tools = [...settings].map(([name, tool]) => asBefore(name, tool) ?? compileTool(name, tool));
  const ordered = tools.toSorted(bySpecificity);
  const byName = new Map(tools.map((tool) => [tool.name, tool]));
  const byDestination = new Map<string, readonly Tool[]>();
  return {
    tools,
    named: (name) => byName.get(name),
    at(host, port) {
      const key = `${host} ${port}`;
      const known = byDestination.get(key);
      if (known !== undefined) return known;
      const found = ordered.filter((tool) => hostFits(tool.host, host) && (tool.settings.match.port ?? port) === port);
      // Hosts are the agent's choice: a bounded memory, started anew when full.
      if (byDestination.size >= 4096) byDestination.clear();
      byDestination.set(key, found);
      return found;
    },
  };
}

/**
 * The one of the tools at a destination whose call this is. Among those with the same host and port it is the one with the longest
 * pattern that fits this very path: a long pattern for other paths says nothing, and must not take calls from the tool that was made for
 * them and from its rules.
 */
export function findTool(tools: readonly Tool[], method: string, path: string): Tool | undefined {
  let best: Tool | undefined;
  let longest = -1;
  for (const tool of tools) {
    if (best !== undefined && bySpecificity(best, tool) < 0) return best;
    const fitting = fittingLength(tool, method, path);
    if (fitting <= longest) continue;
    best = tool;
    longest = fitting;
  }
  return best;
}

/** Length of the longest path pattern that takes the call, 0 for a tool that takes every path, -1 for one that does not take it. */
function fittingLength(tool: Tool, method: string, path: string): number {
  const { methods } = tool.settings.match;
  if (methods !== undefined && !methods.includes(method)) return -1;
  if (tool.paths.length === 0) return 0;
  return tool.paths.find((pattern) => pattern.matches(path))?.text.length ?? -1;
}

function compileTool(name: string, settings: ToolSettings): Tool {
  const { host } = settings.match;
  const scheme = impliedScheme(settings);
  return {
    name,
    settings,
    host: host === '*' ? '' : host.startsWith('*.') ? host.slice(1).toLowerCase() : (normalHost(host) ?? host),
    credentialed: (settings.token ?? settings.secret) !== undefined,
    binding: bindingOf(settings),
    headers: headersOf(settings),
    paths: (settings.match.paths ?? []).map(compilePathPattern).toSorted((a, b) => b.text.length - a.text.length),
    mount: { scheme, port: settings.match.port ?? defaultPort(scheme) },
  };
}

function bindingOf({ token, secret }: ToolSettings): Tool['binding'] {
  if (secret !== undefined) return 'static';
  if (token === undefined) return 'none';
  return token.proof === 'none' ? 'audience' : 'key';
}

/** A client that knows static keys only sends its handle where the key would go. */
function headersOf({ handle_header: own, secret }: ToolSettings): readonly string[] {
  const ofSecret = secret?.in === 'header' && secret.name !== undefined ? [secret.name.toLowerCase()] : [];
  return [...(own === undefined ? [] : [own]), ...ofSecret];
}

/** The scheme of a mount, where no URL names one: https unless the configuration says that the tool speaks plain HTTP. */
function impliedScheme(settings: ToolSettings): 'http' | 'https' {
  const { match, tls } = settings;
  if (match.scheme !== undefined) return match.scheme;
  const isTls = tls.ca !== undefined || tls.spiffe_id !== undefined || tls.client === 'svid';
  if (match.port === 443 || isTls) return 'https';
  if (match.port === 80 || settings.plaintext === 'unsafe') return 'http';
  const loopback =
    settings.dial === undefined
      ? settings.addresses.every((kind) => kind === 'loopback')
      : /^(?:127\.|::1$)/.test(settings.dial.address);
  return loopback ? 'http' : 'https';
}

/** Our own name is of no tool, whatever a pattern takes: what is asked of us, and not as we serve it, goes to nobody else. */
function hostFits(pattern: string, host: string): boolean {
  if (host === sidecarName) return false;
  if (pattern === '') return true;
  return pattern.startsWith('.') ? host.endsWith(pattern) && host.length > pattern.length : pattern === host;
}

function bySpecificity(a: Tool, b: Tool): number {
  return (
    exactness(b) - exactness(a) ||
    Number(b.settings.match.port !== undefined) - Number(a.settings.match.port !== undefined)
  );
}

function exactness({ host }: Tool): number {
  if (host === '') return 0;
  return host.startsWith('.') ? host.length : 1000;
}
