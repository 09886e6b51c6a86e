import { isIP } from 'node:net';

/** Where a Workload API listens: the meaning of a SPIFFE_ENDPOINT_SOCKET value (SPIFFE Workload Endpoint, section 4). */
export type EndpointSocket =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly address: string; readonly port: number };

/** A text was refused as address of a Workload API; the message says which rule it breaks. */
export class InvalidEndpointSocket extends Error {
  override readonly name = 'InvalidEndpointSocket';
}

const unixScheme = 'unix://';
const tcpScheme = 'tcp://';

/** Reads `unix:///absolute/path` or `tcp://<IP>:<port>` (IPv6 in brackets). Throws InvalidEndpointSocket. */
export function parseEndpointSocket(text: string): EndpointSocket {
  // Control characters and blanks are never meant; they come from a broken environment file and would end in a file name.
  if (!/^[\x21-\x7e]+$/.test(text)) throw refuse('holds characters that no address has');
  if (/[?#]/.test(text)) throw refuse('has a query or fragment');
  // An escape could be read as two different paths, by us and by whoever made the socket.
  if (text.includes('%')) throw refuse('holds a percent sign');
  if (text.startsWith(unixScheme)) return parseUnix(text.slice(unixScheme.length));
  if (text.startsWith(tcpScheme)) return parseTcp(text.slice(tcpScheme.length));
  throw refuse('must begin with unix:// or tcp://');
}

/** The same place in the naming of gRPC: `unix:/path`, `ipv4:address:port` or `ipv6:[address]:port`. */
export function grpcTarget(socket: EndpointSocket): string {
  if (socket.kind === 'unix') return `unix:${socket.path}`;
  return isIP(socket.address) === 6
    ? `ipv6:[${socket.address}]:${socket.port}`
    : `ipv4:${socket.address}:${socket.port}`;
}

function parseUnix(rest: string): EndpointSocket {
  // `unix://relative/path` has an authority, which the text forbids; go-spiffe lets some of these pass.
  if (!rest.startsWith('/')) throw refuse('needs an absolute path after unix://');
  if (rest.endsWith('/')) throw refuse('names a folder');
  return { kind: 'unix', path: rest };
}

function parseTcp(rest: string): EndpointSocket {
  if (rest.includes('@')) throw refuse('has user information');
  if (rest.includes('/')) throw refuse('has a path');
  const parts = /^(?:\[(?<v6>[^\]]+)\]|(?<v4>[^:]+)):(?<port>[0-9]{1,5})$/.exec(rest)?.groups;
  const address = parts?.['v6'] ?? parts?.['v4'];
  if (address === undefined) throw refuse('needs an IP address and a port');
  if (isIP(address) !== (parts?.['v6'] === undefined ? 4 : 6)) throw refuse('needs an IP address, not a name');
  const port = Number(parts?.['port']);
  if (port < 1 || port > 65_535) throw refuse('has no valid port');
  return { kind: 'tcp', address, port };
}

function refuse(why: string): InvalidEndpointSocket {
  return new InvalidEndpointSocket(`a Workload API address ${why}`);
}
