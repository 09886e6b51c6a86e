import { z } from 'zod';
import { isLoopbackAddress } from './addresses.ts';

/** Says what is wrong with a URL that tokens, keys or secrets travel to; undefined when it is good. */
function findUrlFault(text: string, allowQuery: boolean): string | undefined {
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
function isLoopbackHost(hostname: string): boolean {
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

/** An endpoint of a token service, or a key set. */
export const endpointUrl = securedUrl(true);

/** A resource indicator: an absolute URI without fragment (RFC 8707, 2). */
export const resourceUri = z.string().regex(/^[A-Za-z][A-Za-z0-9+.-]*:[^\s#\\]+$/, {
  error: 'must be an absolute URI without fragment, such as https://crm.example.org',
});
