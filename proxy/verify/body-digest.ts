import { hash, timingSafeEqual } from 'node:crypto';
import { parseDictionary } from 'structured-headers';
import type { CallBody } from '../intercept/body.ts';
import type { Call } from '../intercept/call.ts';
import { Refusal } from '../refusal.ts';
import { NameMemo } from '../trust/name-memo.ts';

/** Algorithms of RFC 9530 5 that are still good. */
const algorithms: ReadonlyMap<string, string> = new Map([
  ['sha-256', 'sha256'],
  ['sha-512', 'sha512'],
]);

/** Whether a request names a digest of its body: then the body has to be whole before anything is done with it. */
export function namesDigest(call: Call): boolean {
  return digestOf(call) !== undefined;
}

/**
 * Compares `Content-Digest` (RFC 9530) with the body that will be forwarded. Every member that we understand has to match; a digest of
 * another body is the replay of a signed statement, not an accident.
 */
export function checkBodyDigest(call: Call, body: CallBody): void {
  const value = digestOf(call);
  if (value === undefined) return;
  const { content } = body;
  if (content !== undefined && !Buffer.isBuffer(content)) throw new Error('a body with a digest was not collected');
  for (const [name, digest] of parseDigests(value)) {
    const algorithm = algorithms.get(name);
    if (algorithm === undefined) continue;
    const found = hash(algorithm, content ?? Buffer.alloc(0), 'buffer');
    if (found.length !== digest.length || !timingSafeEqual(found, digest)) throw new Refusal('proof_wrong_body');
  }
}

/** Folded as CGI-like programs fold it. */
const isDigestName = new NameMemo((name) => name.toLowerCase().replaceAll(/[_.]/g, '-') === 'content-digest');

function digestOf(call: Call): string | undefined {
  const { forward } = call.headers;
  let found: string | undefined;
  for (let at = 0; at < forward.length; at += 2) {
    if (!isDigestName.of(forward[at] ?? '')) continue;
    if (found !== undefined) throw new Refusal('message_malformed', 'Content-Digest is there more than once.');
    found = forward[at + 1];
  }
  return found;
}

/**
 * A dictionary of byte sequences (RFC 9651 3.2, RFC 9530 2). Stricter than they are: a name that is there twice, and a parameter, which
 * has no meaning here, are refused, since a tool could read another of the two, or something else in it.
 */
function parseDigests(value: string): [string, Buffer][] {
  const read = readDictionary(value);
  // No byte sequence holds a comma, so there are as many members as parts between commas.
  if (read === undefined || read.size !== value.split(',').length) throw unreadable();
  return [...read].map(([name, [digest, parameters]]) => {
    if (!(digest instanceof ArrayBuffer) || parameters.size > 0) throw unreadable();
    return [name, Buffer.from(digest)];
  });
}

function readDictionary(value: string): ReturnType<typeof parseDictionary> | undefined {
  try {
    return parseDictionary(value);
  } catch {
    return undefined;
  }
}

function unreadable(): Refusal {
  return new Refusal('message_malformed', 'Content-Digest cannot be read.');
}
