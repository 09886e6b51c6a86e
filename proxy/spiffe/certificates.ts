import { X509Certificate } from 'node:crypto';
import { MalformedAnswer } from './identity-unavailable.ts';

/** One certificate: its DER bytes and the same, parsed. */
export interface Certificate {
  readonly der: Buffer;
  readonly parsed: X509Certificate;
}

/**
 * Takes apart certificates that are concatenated without separators, the form of chains and bundles in the Workload API.
 * Throws MalformedAnswer when a byte is left over or when there is no certificate: half a chain is never used.
 */
export function parseCertificates(concatenated: Buffer): readonly [Certificate, ...Certificate[]] {
  const found: Certificate[] = [];
  for (let offset = 0; offset < concatenated.length;) {
    const end = offset + sequenceLength(concatenated, offset);
    // A copy: a slice would keep the whole received message alive, the private key in it too.
    const der = Buffer.from(concatenated.subarray(offset, end));
    found.push({ der, parsed: parseOne(der) });
    offset = end;
  }
  const [first, ...rest] = found;
  if (first === undefined) throw new MalformedAnswer('a field that must hold certificates is empty');
  return [first, ...rest];
}

/** Length in bytes, header included, of the DER SEQUENCE at an offset (X.690, 8.1.3: definite lengths only). */
function sequenceLength(bytes: Buffer, offset: number): number {
  const first = bytes[offset + 1];
  if (bytes[offset] !== 0x30 || first === undefined) throw new MalformedAnswer('a certificate is not a DER sequence');
  const extra = first < 0x80 ? 0 : first & 0x7f;
  const header = 2 + extra;
  if (first === 0x80 || extra > 4 || offset + header > bytes.length) {
    throw new MalformedAnswer('a certificate has no valid DER length');
  }
  const length = header + (extra === 0 ? first : bytes.readUIntBE(offset + 2, extra));
  if (offset + length > bytes.length) throw new MalformedAnswer('a certificate is cut short');
  return length;
}

function parseOne(der: Buffer): X509Certificate {
  try {
    return new X509Certificate(der);
  } catch {
    throw new MalformedAnswer('a certificate cannot be parsed');
  }
}
