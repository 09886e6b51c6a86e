import type { Verified } from '../verify/verify.ts';

/**
 * Verified claims as headers, for programs that read no tokens. The caller's own headers of these names were removed with all other
 * identity headers (W12), so what the program reads is ours.
 */
export function claimHeaders({ token, caller, chain }: Verified): string[] {
  const headers: string[] = ['Waybill-Subject', plain(token?.sub ?? caller)];
  if (token !== undefined) headers.push('Waybill-Issuer', plain(token.iss));
  if (caller !== '') headers.push('Waybill-Caller', plain(caller));
  // `scp` is what Entra ID and Okta call it.
  const claim = token?.claims['scope'] ?? token?.claims['scp'];
  // Some services write the scopes as a list (Spring Authorization Server does).
  const scope: unknown = Array.isArray(claim) ? claim.map(String).join(' ') : claim;
  if (typeof scope === 'string' && scope !== '') headers.push('Waybill-Scope', plain(scope));
  headers.push(...chainHeader({ chain }));
  return headers;
}

/** The verified path, oldest hop first: the caller's own header of links does not go on. */
export function chainHeader({ chain }: Pick<Verified, 'chain'>): string[] {
  return chain === undefined ? [] : ['Waybill-Chain', chain.path.map(plain).join(' ')];
}

/** Printable ASCII; everything else, and `%`, percent-encoded: a name must not be able to end a header or forge another. */
function plain(text: string): string {
  if (/^(?:[!-$&-~](?:[ !-$&-~]*[!-$&-~])?)?$/.test(text)) return text;
  // A space at an end is no part of a header's value, so it stays encoded: else three subjects would look the same.
  const encoded = encodeURIComponent(text.toWellFormed()).replaceAll('%20', ' ');
  return encoded.replace(/^ /, '%20').replace(/ $/, '%20');
}
