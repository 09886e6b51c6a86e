import type { IncomingMessage } from 'node:http';
import { Problem } from './problem.ts';

const maxBodyBytes = 65_536;

/** Reads a body of JSON whole; undefined for an empty one. Throws `request_invalid`. */
export async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBodyBytes) throw new Problem('request_invalid', 'The body is too large.');
    chunks.push(chunk);
  }
  if (size === 0) return undefined;
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown;
  } catch {
    throw new Problem('request_invalid', 'The body is not JSON.');
  }
}
