import { readFile } from 'node:fs/promises';
import { ClientSecretBasic, ClientSecretPost } from 'oauth4webapi';
import { Refusal } from '../../refusal.ts';
import type { AuthenticateClient } from '../service-client.ts';

/**
 * Client authentication with a secret from a file (RFC 6749 2.3.1; for `basic` both parts are form-encoded first). The file is read
 * at each use, so a rotated secret needs no reload, and the text is not kept. Rejects with `identity_unavailable` when there is none.
 */
export function clientSecretAuth(
  method: 'client_secret_basic' | 'client_secret_post',
  file: string,
): AuthenticateClient {
  const authWith = method === 'client_secret_basic' ? ClientSecretBasic : ClientSecretPost;
  return () => async (as, client, body, headers) => {
    await authWith(await readSecret(file))(as, client, body, headers);
  };
}

async function readSecret(file: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch {
    throw new Refusal('identity_unavailable', 'The client secret of a token service cannot be read.');
  }
  // Editors and `echo` end a file with a newline, which is not part of the secret.
  const secret = text.replace(/\r?\n$/, '');
  if (secret === '') throw new Refusal('identity_unavailable', 'The client secret of a token service is empty.');
  return secret;
}
