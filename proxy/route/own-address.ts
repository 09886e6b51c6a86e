import { networkInterfaces } from 'node:os';
import { addressValue, classifyAddress } from './address-class.ts';

/** "This host": to connect there reaches our loopback. */
const unspecified: readonly unknown[] = ['0.0.0.0', '::'].map(addressValue);

/** Whether an address, in any spelling, is of this machine, as its interfaces are now. */
export function isOwnAddress(address: string): boolean {
  if (classifyAddress(address) === 'loopback') return true;
  const value = addressValue(address);
  if (value === undefined) return false;
  if (unspecified.includes(value)) return true;
  return Object.values(networkInterfaces()).some(
    (list) => list?.some((entry) => addressValue(entry.address) === value) === true,
  );
}
