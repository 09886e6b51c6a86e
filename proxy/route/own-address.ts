import { networkInterfaces } from 'node:os';
import { classifyAddress } from './address-class.ts';

/** Whether an address is of this machine, as its interfaces are now. */
export function isOwnAddress(address: string): boolean {
  if (classifyAddress(address) === 'loopback') return true;
  return Object.values(networkInterfaces()).some((list) => list?.some((entry) => entry.address === address) === true);
}
