import { Refusal } from '../../refusal.ts';
import { readBounded } from '../../spiffe/bounded-file.ts';

/** A chain of certificates has a few KiB. */
const maxSecretBytes = 64 * 1024;

/**
 * The text of a file that proves who we are, read at each use: what is rotated on disk needs no reload, and nothing is kept here.
 * Rejects with `identity_unavailable`; the system's own error would name the path to the agent.
 * @param what stands in the sentence that the agent reads, such as `client secret`.
 */
export async function readSecretFile(file: string, what: string): Promise<string> {
  let text: string;
  try {
    text = (await readBounded(file, maxSecretBytes)).toString('utf8');
  } catch {
    throw new Refusal('identity_unavailable', `The ${what} of a token service cannot be read.`);
  }
  // Editors and `echo` end a file with a newline, which is not part of the secret.
  const secret = text.replace(/\r?\n$/, '');
  if (secret === '') throw new Refusal('identity_unavailable', `The ${what} of a token service is empty.`);
  return secret;
}
