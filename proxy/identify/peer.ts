import type { Socket } from 'node:net';

/** Whether a connection came from this machine, or from this pod. TLS inside a tunnel tells the address of the connection around it. */
export function isFromHere({ remoteAddress = '' }: Socket): boolean {
  // A listener for both families sees IPv4 in the form of IPv6.
  const plain = remoteAddress.replace(/^::ffff:(?=\d+\.)/i, '');
  return plain === '::1' || /^127(?:\.\d{1,3}){3}$/.test(plain);
}
