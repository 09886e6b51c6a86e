import { brotliDecompressSync, gunzipSync, inflateSync, zstdDecompressSync } from 'node:zlib';
import type { Call } from '../intercept/call.ts';

/** How far a compressed body is taken apart: what unfolds to more is let through unread. */
const maxUnfolded = 1_048_576;

const limits = { maxOutputLength: maxUnfolded };

/** Functions, so that nothing of them is loaded before a body is compressed. */
const codings: Readonly<Record<string, (bytes: Buffer) => Buffer>> = {
  gzip: (bytes) => gunzipSync(bytes, limits),
  'x-gzip': (bytes) => gunzipSync(bytes, limits),
  deflate: (bytes) => inflateSync(bytes, limits),
  br: (bytes) => brotliDecompressSync(bytes, limits),
  zstd: (bytes) => zstdDecompressSync(bytes, limits),
};

/** The whole body of a call without its one `Content-Encoding`; undefined where it has none, or one that cannot be read. */
export function unfolded({ headers: { forward } }: Call, body: Buffer): Buffer | undefined {
  const at = forward.findIndex((text, index) => index % 2 === 0 && text.toLowerCase() === 'content-encoding');
  const coding = at < 0 ? '' : (forward[at + 1] ?? '').trim().toLowerCase();
  const unfold = Object.hasOwn(codings, coding) ? codings[coding] : undefined;
  try {
    return unfold?.(body);
  } catch {
    return undefined;
  }
}
