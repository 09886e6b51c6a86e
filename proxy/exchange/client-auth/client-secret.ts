import { ClientSecretBasic, ClientSecretPost } from 'oauth4webapi';
import type { AuthenticateClient } from '../service-client.ts';
import { readSecretFile } from './secret-file.ts';

/**
 * Client authentication with a secret from a file (RFC 6749 2.3.1; for `basic` both parts are form-encoded first). Rejects with
 * `identity_unavailable` when there is none.
 */
export function clientSecretAuth(
  method: 'client_secret_basic' | 'client_secret_post',
  file: string,
): AuthenticateClient {
  const authWith = method === 'client_secret_basic' ? ClientSecretBasic : ClientSecretPost;
  return () => async (as, client, body, headers) => {
    await authWith(await readSecretFile(file, 'client secret'))(as, client, body, headers);
  };
}
