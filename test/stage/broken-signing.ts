/**
 * Loaded into a sidecar by `--import`: writes every private key that signs to the file that WAYBILL_STAGE_KEYS names, and fails, with
 * the key in the error's message, where a proof is for a path with `fault-now`. Libraries quote what they were given; this one does.
 */
import crypto, { KeyObject } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const { sign } = crypto;
const known = new Set<string>();
const file = process.env['WAYBILL_STAGE_KEYS'] ?? '';

crypto.sign = ((...args: Parameters<typeof sign>) => {
  const [, data, options] = args;
  const key = (options as { key?: unknown }).key;
  if (key instanceof KeyObject && key.type === 'private') {
    const { d = '' } = key.export({ format: 'jwk' });
    if (!known.has(d)) appendFileSync(file, `${d}\n`);
    known.add(d);
    const payload = Buffer.from(
      Buffer.from(data as Buffer)
        .toString()
        .split('.')[1] ?? '',
      'base64url',
    ).toString();
    if (payload.includes('fault-now'))
      throw new Error(`cannot sign ${payload} with ${d}`, { cause: key.export({ format: 'jwk' }) });
  }
  return sign(...args);
}) as typeof sign;
syncBuiltinESMExports();
