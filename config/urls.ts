import { z } from 'zod';
import { isLoopbackAddress } from './addresses.ts';

/** Says what is wrong with a URL that tokens, keys or secrets travel to; undefined when it is good. */
export function findUrlFault(text: string, allowQuery: boolean): string | undefined {
  if (!URL.canParse(text)) return 'must be a whole URL, such as https://sso.example.org/realms/corp';
  const url = new URL(text);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return 'must be an https URL';
  if (url.username !== '' || url.password !== '') return 'must not hold a user name or password';
  if (text.includes('#')) return 'must not have a fragment (#…)';
  if (!allowQuery && text.includes('?')) return 'must not have a query (?…)';
  if (/[\s\\]/.test(text)) return 'must not hold spaces or backslashes';
  // Tokens and signing keys over plain http could be read and replaced by anybody on the path.
  if (url.protocol === 'http:' && !isLoopbackHost(url.hostname)) {
    return 'must be https; plain http is accepted for loopback only (127.0.0.1, [::1], localhost)';
  }
  return undefined;
}

/** By address or by the name that is reserved for it (RFC 6761, 6.3); `127.0.0.1.evil.org` is a name like any other. */
export function isLoopbackHost(hostname: string): boolean {
  const name = hostname.replace(/^\[|\]$/g, '');
  return name === 'localhost' || name.endsWith('.localhost') || (/^[\d.]+$|:/.test(name) && isLoopbackAddress(name));
}

const securedUrl = (allowQuery: boolean) =>
  z.string().check((context) => {
    const fault = findUrlFault(context.value, allowQuery);
    if (fault !== undefined) context.issues.push({ code: 'custom', message: fault, input: context.value });
  });

/** An issuer identifier, kept exactly as written: it is compared letter by letter (RFC 8414, 3.3). */
export const issuerUrl = securedUrl(false);

/** Says what is wrong with an origin; undefined when it is scheme, host and port. */
function findOriginFault(text: string): string | undefined {
  const fault = findUrlFault(text, false);
  if (fault !== undefined) return fault;
  if (!/^https?:\/\/[^/]+$/i.test(text)) {
    return 'must be an origin only: scheme, host and port, without path and final slash';
  }
  return new URL(text).hostname.endsWith('.') ? 'must not have a dot at the end of its host' : undefined;
}

/** An origin that others know us by, read in its one normal form: lower case, without default port. */
export const originUrl = z
  .string()
  .check((context) => {
    const fault = findOriginFault(context.value);
    if (fault !== undefined) context.issues.push({ code: 'custom', message: fault, input: context.value });
  })
  .transform((text) => new URL(text).origin);

/** Where a program of this pod listens. */
export interface ProgramPlace {
  /** `http://127.0.0.1:8080`, in normal form. */
  readonly origin: string;
  /** A loopback address (IPv6 without brackets), or `localhost`. */
  readonly host: string;
  readonly port: number;
}

/** Says what is wrong with the place of a program; undefined when it is an http origin on loopback. */
function findProgramFault(text: string): string | undefined {
  const shape = 'must be an http URL on loopback with host and port only, such as http://127.0.0.1:8080';
  if (/^https:/i.test(text)) return `${shape}; TLS within a pod is not needed`;
  if (!/^http:\/\/[^/?#\\\s@]+\/?$/i.test(text) || !URL.canParse(text)) return shape;
  if (text.endsWith('/')) return `${shape}; requests keep their own path, so it ends without a slash`;
  const place = placeOf(text);
  if (place.host !== 'localhost' && !isLoopbackHost(place.host)) {
    return `${shape}; at any other address others could pass by the way in`;
  }
  return place.port === 0 || place.host.endsWith('.localhost') ? shape : undefined;
}

function placeOf(text: string): ProgramPlace {
  const { origin, hostname, port } = new URL(text);
  return Object.freeze({ origin, host: hostname.replace(/^\[|\]$/g, ''), port: port === '' ? 80 : Number(port) });
}

/** The program behind the way in. Names other than `localhost` could be made to point elsewhere. */
export const programUrl = z
  .string()
  .check((context) => {
    const fault = findProgramFault(context.value);
    if (fault !== undefined) context.issues.push({ code: 'custom', message: fault, input: context.value });
  })
  .transform(placeOf);

/** An endpoint of a token service, or a key set. */
export const endpointUrl = securedUrl(true);

/** A resource indicator: an absolute URI without fragment (RFC 8707, 2). */
export const resourceUri = z.string().regex(/^[A-Za-z][A-Za-z0-9+.-]*:[^\s#\\]+$/, {
  error: 'must be an absolute URI without fragment, such as https://crm.example.org',
});
