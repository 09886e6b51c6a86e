import { isUtf8 } from 'node:buffer';
import { UnprovenRefusal, whyUnread } from '../../refusal.ts';
import { readBounded } from '../../spiffe/bounded-file.ts';

/** A chain of certificates has a few KiB. */
const maxSecretBytes = 64 * 1024;

/**
 * The text of a file that proves who we are, read at each use: what is rotated on disk needs no reload, and nothing is kept here.
 * Rejects with `identity_unavailable`; the system's own error would name the path to the agent.
 * @param what stands in the sentence that the agent reads, such as `client secret`.
 */
export async function readSecretFile(file: string, what: string): Promise<string> {
  let bytes: Buffer;
  try {
    bytes = await readBounded(file, maxSecretBytes);
  } catch (error) {
    throw new UnprovenRefusal(`The ${what} of a token service cannot be read.`, whyUnread(error), file);
  }
  // Read all the same, it would be another one: a service would be asked with a wrong secret, and may lock us out.
  if (!isUtf8(bytes)) throw new UnprovenRefusal(`The ${what} of a token service is not UTF-8.`, 'not_utf8', file);
  // Editors and `echo` end a file with a newline, which is not part of the secret.
  const secret = bytes.toString('utf8').replace(/\r?\n$/, '');
  if (secret === '') throw new UnprovenRefusal(`The ${what} of a token service is empty.`, 'empty', file);
  return secret;
}
