import type { InboundToken } from '../verify/inbound-token.ts';

/** Shorter parts of a signature may stand in the record by chance (W8). */
const shortestPart = 16;
/** Any 16 characters of a text hold one of its pieces whole, wherever they begin. */
const pieceLength = 8;

const known = new WeakMap<InboundToken, readonly string[]>();

/** Whether a text of the caller's may hold a part of the signature of his own token: then it is no text for others to read (W8). */
export function holdsPartOf(token: InboundToken | undefined, text: string): boolean {
  if (token === undefined || text.length < shortestPart) return false;
  for (const piece of piecesOf(token)) if (text.includes(piece)) return true;
  return false;
}

/** Made once for each token. */
function piecesOf(token: InboundToken): readonly string[] {
  let pieces = known.get(token);
  if (pieces === undefined) {
    const text = token.text.reveal();
    const signature = text.slice(text.lastIndexOf('.') + 1);
    const count = Math.floor(signature.length / pieceLength);
    pieces = Array.from({ length: count }, (_none, at) => signature.slice(at * pieceLength, (at + 1) * pieceLength));
    known.set(token, pieces);
  }
  return pieces;
}
