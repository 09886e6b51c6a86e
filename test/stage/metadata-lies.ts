import { type Place, wellKnown } from './choosing-tool.ts';

/** Issuers that a lie may name: two of the configuration, and a stranger. */
export interface NamedIssuers {
  readonly corp: string;
  readonly partner: string;
  readonly foreign: string;
}

/** Metadata of a tool and other answers that must lead nowhere, by what is wrong. */
const lies: Readonly<Record<string, (host: string, issuers: NamedIssuers) => Place>> = {
  'names a stranger only': (host, { foreign }) => document(host, [foreign]),
  'names ours with a slash': (host, { corp, partner }) => document(host, [`${corp}/`, `${partner}/`]),
  'names ours in a longer name': (host, { corp }) => document(host, [`${corp}.evil.example`]),
  'names nobody': (host) => document(host, []),
  'names one server as a text': (host, { partner }) => ({
    document: { resource: `http://${host}/mcp`, authorization_servers: partner },
  }),
  'leaves the servers out': (host) => ({ document: { resource: `http://${host}/mcp` } }),
  'names servers that are none': (host, { partner }) => document(host, [partner, 7]),
  'is of another resource': (_host, { partner }) => document('other.test', [partner]),
  'is of no resource': (_host, { partner }) => ({ document: { authorization_servers: [partner] } }),
  'is of a resource in another case': (host, { partner }) => document(host.toUpperCase(), [partner]),
  'has a member twice': (host, { partner }) => ({
    document: `{"resource":"http://${host}/mcp","authorization_servers":["${partner}"],"resource":"x"}`,
  }),
  'is a list': (_host, { partner }) => ({ document: [partner] }),
  'is a page': (host, { partner }) => ({ ...document(host, [partner]), type: 'text/html' }),
  'is huge': (host, { partner }) => ({
    document: { ...document(host, [partner]).document, pad: 'x'.repeat(1024 * 1024) },
  }),
  'leads to a stranger by a redirect': (_host, { foreign }) => ({
    status: 302,
    headers: { location: `${foreign}${wellKnown}/mcp` },
  }),
  'leads on by a redirect': (host) => ({
    status: 307,
    headers: { location: `http://${host}/elsewhere` },
  }),
  'is an error': () => ({ status: 500 }),
};

/** A document as it should be. */
export function document(host: string, servers: readonly unknown[]): { document: Record<string, unknown> } {
  return { document: { resource: `http://${host}/mcp`, authorization_servers: servers } };
}

/** Names of all of them. */
export const metadataLies: readonly string[] = Object.keys(lies);

/** How a tool at this host tells one. */
export function lieAbout(what: string, host: string, issuers: NamedIssuers): Place {
  const lie = lies[what];
  if (lie === undefined) throw new Error(`no such lie: ${what}`);
  return lie(host, issuers);
}
