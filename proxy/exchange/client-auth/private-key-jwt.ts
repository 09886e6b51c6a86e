import type { World } from '../../world.ts';
import type { AuthenticateClient } from '../service-client.ts';
import { readSecretFile } from './secret-file.ts';
import { parseSigningKey, type SigningKey } from './signing-key.ts';

/** RFC 7523 2.2: an assertion that is a JWT. */
export const jwtBearerAssertion = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

/** How assertions are written for a service (setting `assertion`). */
export interface AssertionForm {
  /** What stands in `aud`. */
  readonly audience: 'issuer' | 'token_endpoint';
  readonly typ: 'client-authentication+jwt' | 'JWT' | 'none';
}

/** What the assertions of one client are made of. */
export interface PrivateKeyJwtOptions {
  readonly clientId: string;
  readonly issuer: string;
  readonly keyFile: string;
  /** Name of the key at the service; else the key's own, where it is a JWK. */
  readonly keyId: string | undefined;
  readonly form: AssertionForm;
  readonly world: World;
}

/** An assertion is made for one request. */
const lifeSeconds = 60;

/**
 * Client authentication `private_key_jwt` (RFC 7523, rfc7523bis): a fresh assertion for each request, with the issuer as its only
 * audience. With the token endpoint as audience, a service that claims another's endpoint could present our assertion there; services
 * that know no better get it by `assertion.audience`.
 */
export function privateKeyJwtAuth(options: PrivateKeyJwtOptions): AuthenticateClient {
  const readKey = keyReader(options.keyFile);
  const { clientId, issuer, form, world } = options;
  return () => async (as, _client, body) => {
    const key = await readKey();
    const kid = options.keyId ?? key.kid;
    const header = { ...(form.typ === 'none' ? {} : { typ: form.typ }), ...(kid === undefined ? {} : { kid }) };
    const iat = Math.floor(world.now() / 1000);
    const assertion = key.sign(header, {
      iss: clientId,
      sub: clientId,
      aud: form.audience === 'issuer' ? issuer : as.token_endpoint,
      jti: world.random(16).toString('base64url'),
      iat,
      exp: iat + lifeSeconds,
    });
    body.set('client_id', clientId);
    body.set('client_assertion_type', jwtBearerAssertion);
    body.set('client_assertion', assertion);
  };
}

/** The key of a file, parsed anew when the file says something else. */
function keyReader(file: string): () => Promise<SigningKey> {
  let last: { readonly text: string; readonly key: SigningKey } | undefined;
  return async () => {
    const text = await readSecretFile(file, 'client key');
    if (last?.text !== text) last = { text, key: parseSigningKey(text, file) };
    return last.key;
  };
}
