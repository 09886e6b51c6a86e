/**
 * What is measured beside the load, in a process of its own on the variants' core: the cost of one ES256 verification, and the ledger.
 * Asked over the process channel, it answers with figures.
 */
import { generateKeyPairSync, randomBytes, sign, verify } from 'node:crypto';
import { readCpuNs } from './cpu.ts';
import { measureLedger } from './ledger.ts';

/** A question to the probe. */
export type ProbeOrder = { readonly ask: 'es256' } | { readonly ask: 'ledger'; readonly entries: number };

/** CPU of one verification, microseconds. */
export interface VerificationCost {
  readonly us: number;
}

const verifications = 3000;
/** About as long as what is signed in a DPoP proof with nonce. */
const signedBytes = 560;

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const input = Buffer.from(randomBytes(signedBytes).toString('base64url').slice(0, signedBytes));
const signature = sign('sha256', input, { key: privateKey, dsaEncoding: 'ieee-p1363' });

/** As the variants are measured: CPU of the whole process from `/proc`, so that other programs on the core do not count. */
function measureVerification(): VerificationCost {
  const before = readCpuNs(process.pid);
  for (let n = 0; n < verifications; n += 1) {
    if (!verify('sha256', input, { key: publicKey, dsaEncoding: 'ieee-p1363' }, signature))
      throw new Error('a good signature did not verify');
  }
  return { us: (readCpuNs(process.pid) - before) / 1000 / verifications };
}

process.on('message', (order: ProbeOrder) => {
  if (order.ask === 'es256') process.send?.(measureVerification());
  else void measureLedger(order.entries).then((report) => process.send?.(report));
});
process.on('disconnect', () => process.exit(0));
