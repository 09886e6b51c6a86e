/** Absolute http(s) URI of RFC 3986 without user, query and fragment. Names only: numeric spellings and escapes in hosts stay as they are. */
const form =
  /^(?<scheme>https?):\/\/(?<host>\[[0-9a-f:.]+\]|[a-z0-9._~-]+)(?::(?<port>[1-9]\d{0,4})?)?(?<path>\/[\x21-\x22\x24-\x3e\x40-\x5b\x5d-\x7e]*)?$/i;

/**
 * Whether the `htu` of a proof names the target (RFC 9449 4.3, check 9): equal after the normalisation of RFC 3986 6.2.2 and 6.2.3, which
 * is letter case of scheme and host, default port, empty path, escapes of unreserved characters, dot segments. A query or fragment in
 * the claim is refused: who put one there believes that it is protected, and it is not.
 * @param origin `scheme://host[:port]` in normal form, from the configuration: `Host` is the caller's to choose.
 * @param path Path as it came in the request line; a query behind it is ignored.
 */
export function isSameTarget(htu: string, origin: string, path: string): boolean {
  const end = path.indexOf('?');
  const plainPath = end < 0 ? path : path.slice(0, end);
  if (htu === origin + plainPath) return !htu.includes('#');
  const claimed = form.exec(htu)?.groups;
  if (claimed === undefined) return false;
  const { scheme = '', host = '', port, path: claimedPath = '/' } = claimed;
  if (normalOrigin(scheme, host, port) !== origin) return false;
  // Dots of the request are left alone: a path with dot segments names nothing for sure, so no other spelling proves it.
  return removeDotSegments(normalEscapes(claimedPath)) === normalEscapes(plainPath);
}

function normalOrigin(scheme: string, host: string, port: string | undefined): string {
  const name = `${scheme}://${host}`.toLowerCase();
  const defaultPort = name.startsWith('https:') ? '443' : '80';
  return port === undefined || port === defaultPort ? name : `${name}:${port}`;
}

/** Escapes of unreserved characters decoded, hex digits of all others in upper case (RFC 3986 6.2.2.1 and 2). */
function normalEscapes(path: string): string {
  return path.replaceAll(/%[0-9a-f]{2}/gi, (escape) => {
    const char = String.fromCharCode(parseInt(escape.slice(1), 16));
    return /[A-Za-z0-9._~-]/.test(char) ? char : escape.toUpperCase();
  });
}

/** RFC 3986 5.2.4, for paths that begin with a slash. */
function removeDotSegments(path: string): string {
  const kept: string[] = [];
  const segments = path.split('/').slice(1);
  for (const segment of segments) {
    if (segment === '..') kept.pop();
    else if (segment !== '.') kept.push(segment);
  }
  // A dot segment at the end leaves its slash.
  if (/^\.{1,2}$/.test(segments.at(-1) ?? '')) kept.push('');
  return `/${kept.join('/')}`;
}
