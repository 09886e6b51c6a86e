import { createBrotliDecompress, createGunzip, createInflate, createInflateRaw, createZstdDecompress } from 'node:zlib';
import type { Duplex } from 'node:stream';

/** Codings that a tool may lay over each other; more only make work for us. */
const mostCodings = 3;

type OpenDecoder = (first: Buffer) => Duplex;

const decoders: Readonly<Record<string, OpenDecoder>> = {
  gzip: () => createGunzip(),
  'x-gzip': () => createGunzip(),
  br: () => createBrotliDecompress(),
  zstd: () => createZstdDecompress(),
  // RFC 9110 8.4.1.2 means zlib's format; some servers send the bare stream, whose first byte never looks like that.
  deflate: (first) => (((first[0] ?? 0) & 0x0f) === 8 ? createInflate() : createInflateRaw()),
};

/**
 * How an answer with this `Content-Encoding` is read, outermost coding first; empty where it is plain. Undefined where we cannot read
 * it: then nobody could say what is in it.
 * @param values of all `Content-Encoding` headers, in their order.
 */
export function decodersFor(values: readonly string[]): readonly OpenDecoder[] | undefined {
  const codings = values
    .flatMap((value) => value.split(','))
    .map((coding) => coding.trim().toLowerCase())
    .filter((coding) => coding !== '' && coding !== 'identity');
  if (codings.length > mostCodings) return undefined;
  const chosen: OpenDecoder[] = [];
  // What was applied last stands last, and is taken off first.
  for (const coding of codings.toReversed()) {
    const open = Object.hasOwn(decoders, coding) ? decoders[coding] : undefined;
    if (open === undefined) return undefined;
    chosen.push(open);
  }
  return chosen;
}

export type { OpenDecoder };
