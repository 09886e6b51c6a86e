import { brotliDecompressSync, gunzipSync, inflateSync, zstdDecompressSync } from 'node:zlib';
import type { Call } from '../intercept/call.ts';

/** How far a compressed body is taken apart: what unfolds to more is let through unread. */
const maxUnfolded = 1_048_576;

const codings: Readonly<Record<string, (bytes: Buffer, options: { maxOutputLength: number }) => Buffer>> = {
  gzip: gunzipSync,
  'x-gzip': gunzipSync,
  deflate: inflateSync,
  br: brotliDecompressSync,
  zstd: zstdDecompressSync,
};

/** The whole body of a call without its one `Content-Encoding`; undefined where it has none, or one that cannot be read. */
export function unfolded({ headers: { forward } }: Call, body: Buffer): Buffer | undefined {
  const at = forward.findIndex((text, index) => index % 2 === 0 && text.toLowerCase() === 'content-encoding');
  const coding = at < 0 ? '' : (forward[at + 1] ?? '').trim().toLowerCase();
  const unfold = Object.hasOwn(codings, coding) ? codings[coding] : undefined;
  try {
    return unfold?.(body, { maxOutputLength: maxUnfolded });
  } catch {
    return undefined;
  }
}
