/** Bytes that are looked up together: long enough that they are no accident, short enough to be met in every part of 23 bytes. */
export const windowBytes = 8;

/** 32 bits of the two words of a window; where they agree by chance, the bytes themselves are compared. */
export function mix(low: number, high: number): number {
  return Math.imul(low, 0x9e3779b1) ^ Math.imul(high, 0x85ebca6b);
}
