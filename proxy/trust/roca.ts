/** The primes by which the moduli of a broken generator were recognised (CVE-2017-15361). */
const primes = [
  3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113,
  127, 131, 137, 139, 149, 151, 157, 163, 167,
] as const;

/** For each prime, the remainders that its moduli can leave: the powers of 65537. An honest modulus leaves any. */
const remainders: readonly (readonly [bigint, ReadonlySet<bigint>])[] = primes.map((prime) => {
  const p = BigInt(prime);
  const powers = new Set<bigint>();
  for (let power = 1n; !powers.has(power); power = (power * 65_537n) % p) powers.add(power);
  return [p, powers];
});

/**
 * Whether an RSA modulus (base64url) was made by the smart cards and TPMs whose keys can be factored from the public half (ROCA): then
 * anybody could be its owner. One honest key in about 2^28 looks alike. Costs some 20 us: for the import of a key.
 */
export function isRocaModulus(n: string): boolean {
  const hex = Buffer.from(n, 'base64url').toString('hex');
  const modulus = BigInt(`0x${hex === '' ? '0' : hex}`);
  return remainders.every(([p, powers]) => powers.has(modulus % p));
}
