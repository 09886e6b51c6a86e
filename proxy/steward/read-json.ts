import type { IncomingMessage } from 'node:http';
import { InvalidJson, parseStrictJson } from '../trust/strict-json.ts';
import { Problem } from './problem.ts';

const maxBodyBytes = 65_536;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Reads a body of one JSON object whole; undefined for an empty one. Throws `request_invalid`, also for a member that is there twice: who
 * wrote it may have meant the other one, and a revocation of the wrong subject is none of the right one.
 */
export async function readJson(request: IncomingMessage): Promise<unknown> {
  const bytes = await readWhole(request);
  if (bytes.length === 0) return undefined;
  try {
    // Read leniently, the name of a user in another encoding would be nobody's, and a revocation of it would be said to be done.
    return parseStrictJson(utf8.decode(bytes));
  } catch (error) {
    throw new Problem(
      'request_invalid',
      error instanceof InvalidJson ? `The body: ${error.message}.` : 'The body is not JSON in UTF-8.',
    );
  }
}

async function readWhole(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > maxBodyBytes) throw new Problem('request_invalid', 'The body is too large.');
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof Problem) throw error;
    // The peer went away: no fault of ours, and nobody is there to be told.
    throw new Problem('request_invalid', 'The body ends early.');
  }
  return Buffer.concat(chunks);
}
