/** Order of the group of P-256. */
const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

/** The other signature of the same message and key: ECDSA has two (r, s and r, n - s). */
export function twinSignature(jws: string): string {
  const end = jws.lastIndexOf('.') + 1;
  const raw = Buffer.from(jws.slice(end), 'base64url');
  const twin = (order - BigInt(`0x${raw.subarray(32).toString('hex')}`)).toString(16).padStart(64, '0');
  return jws.slice(0, end) + Buffer.concat([raw.subarray(0, 32), Buffer.from(twin, 'hex')]).toString('base64url');
}
