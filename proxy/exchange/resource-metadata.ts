import type { Origin } from '../intercept/origin.ts';
import type { Routed } from '../route/route.ts';
import { InvalidJson, parseStrictJson } from '../trust/strict-json.ts';
import type { World } from '../world.ts';

/** What a tool answered to a request of ours that carried no credential. */
export interface ToolReply {
  readonly status: number;
  /** Value of `Content-Type`, empty where there is none. */
  readonly type: string;
  /** Values of `WWW-Authenticate`, joined. */
  readonly challenge: string;
  /** Undefined where it is larger than was asked for. */
  readonly body: string | undefined;
}

/**
 * Port: one request without body and credential to where a routed call goes: the same checked address, the same TLS. Follows no
 * redirect. Undefined when there is no answer within `timeoutMs`.
 */
export type AskTool = (
  routed: Routed,
  request: {
    readonly method: 'GET' | 'HEAD';
    readonly path: string;
    readonly timeoutMs: number;
    readonly maxBytes: number;
  },
) => Promise<ToolReply | undefined>;

/** The tool gave no answer. */
export class ToolSilent extends Error {
  constructor() {
    super('the tool is silent');
  }
}

/** The tool does not say which authorization servers it takes tokens of, or says it of another resource. */
export class MetadataUnusable extends Error {
  constructor() {
    super('resource metadata unusable');
  }
}

/** Honest documents have one kilobyte. */
const maxBytes = 64 * 1024;
/** One limit over all places that are asked: the call behind them waits. */
const findMs = 2000;
const wellKnown = '/.well-known/oauth-protected-resource';
const maxPathLength = 1024;

/**
 * The authorization servers that a tool names in its protected resource metadata (RFC 9728), in its order. It is asked at its own
 * origin only: at the well-known place of its resource, at that of its origin, and at the place that its challenge to a HEAD without
 * credential names. Rejects with `MetadataUnusable` or `ToolSilent`.
 */
export async function findAuthorizationServers(routed: Routed, ask: AskTool, world: World): Promise<readonly string[]> {
  const { tool, target } = routed.permit.attributed.call;
  const { origin } = target;
  const resource = tool.settings.token?.resource;
  const endMs = world.monotonic() + findMs;
  const path = pathOf(resource);
  const send = async (method: 'GET' | 'HEAD', at: string): Promise<ToolReply> => {
    const timeoutMs = Math.ceil(endMs - world.monotonic());
    const found = timeoutMs > 0 ? await ask(routed, { method, path: at, timeoutMs, maxBytes }) : undefined;
    if (found === undefined) throw new ToolSilent();
    return found;
  };
  for (const at of new Set([wellKnown + (path === '/' ? '' : path), wellKnown])) {
    const reply = await send('GET', at);
    // Whatever stands there under 200 is meant: to go on would let one place overrule another.
    if (reply.status === 200) return readServers(reply, at === wellKnown, resource, origin);
  }
  const place = readPlace(await send('HEAD', path), origin);
  if (place === undefined) throw new MetadataUnusable();
  const reply = await send('GET', place);
  if (reply.status !== 200) throw new MetadataUnusable();
  return readServers(reply, true, resource, origin);
}

/** Path of a resource that is a URL; that of other URIs, and of none, is the root. */
function pathOf(resource: string | undefined): string {
  const url = resource === undefined ? null : URL.parse(resource);
  const isWeb = url?.protocol === 'https:' || url?.protocol === 'http:';
  return isWeb && url.pathname.length <= maxPathLength ? url.pathname : '/';
}

/** The place that a 401 names (RFC 9728 5.1), if it is at the tool's own origin: elsewhere the tool could make us ask for it. */
function readPlace({ status, challenge }: ToolReply, origin: Origin): string | undefined {
  if (status !== 401) return undefined;
  const text = /(?:^|[\s,])resource_metadata\s*=\s*"([^"\\\s]*)"/i.exec(challenge)?.[1] ?? '';
  const url = URL.parse(text);
  if (url === null || url.origin !== origin.text || url.username !== '' || url.password !== '') return undefined;
  const place = url.pathname + url.search;
  return place.length <= maxPathLength ? place : undefined;
}

/** Members of the document, after its `resource` was compared (RFC 9728 3.3): that of another one would speak for us to its tools. */
function readServers(
  { type, body }: ToolReply,
  isOfOrigin: boolean,
  resource: string | undefined,
  origin: Origin,
): readonly string[] {
  const document = readDocument(type, body);
  const { resource: said, authorization_servers: servers } = document;
  const own = [
    ...(resource === undefined ? [] : [resource]),
    ...(isOfOrigin || resource === undefined ? [origin.text] : []),
  ];
  if (typeof said !== 'string' || !own.some((name) => isSameResource(name, said))) throw new MetadataUnusable();
  if (!Array.isArray(servers) || !servers.every((server) => typeof server === 'string')) throw new MetadataUnusable();
  return servers;
}

function readDocument(type: string, body: string | undefined): Record<string, unknown> {
  if (type.split(';', 1)[0]?.trim().toLowerCase() !== 'application/json' || body === undefined)
    throw new MetadataUnusable();
  try {
    return parseStrictJson(body);
  } catch (error) {
    if (error instanceof InvalidJson) throw new MetadataUnusable();
    throw error;
  }
}

/** Byte for byte; only an origin may end with the slash that its empty path stands for (RFC 3986 6.2.3). */
function isSameResource(one: string, other: string): boolean {
  return one === other || (/^https?:\/\/[^/]+\/?$/.test(one) && withSlash(one) === withSlash(other));
}

function withSlash(text: string): string {
  return text.endsWith('/') ? text : `${text}/`;
}
