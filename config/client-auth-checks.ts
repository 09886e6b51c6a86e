import type { SettingPath } from './config-errors.ts';
import { isWithoutIdentity, noIdentity } from './service-checks.ts';
import type { Finding } from './shape-errors.ts';
import type { Written } from './written.ts';

/** What each way of `client_auth` cannot do without. */
const needs: ReadonlyMap<string, readonly string[]> = new Map([
  ['private_key_jwt', ['client_id', 'client_key_file']],
  ['tls_client_auth', ['client_id', 'client_certificate_file', 'client_key_file']],
  ['kubernetes_jwt', ['token_file']],
  ['client_secret_basic', ['client_id', 'client_secret_file']],
  ['client_secret_post', ['client_id', 'client_secret_file']],
]);

const words: Readonly<Record<string, string>> = {
  client_id: 'the client id',
  client_key_file: 'a file that holds the private key',
  client_certificate_file: 'a file that holds the client certificate',
  token_file: 'the file of the projected service account token, here or as `identity.kubernetes`',
  client_secret_file: 'a file that holds the client secret',
};

/** Ways whose proof is the certificate of the connection. */
const overTls: ReadonlySet<string> = new Set(['spiffe_x509', 'tls_client_auth']);

/** Client authentication: what each way needs, TLS for certificates, and one authority for one origin. */
export function checkClientAuth(written: Written): readonly Finding[] {
  const names = written.names(['token_services']);
  return [
    ...names.flatMap((name) => [...checkNeeds(written, name), ...checkSpiffeX509(written, name)]),
    ...names.flatMap((name) =>
      overTls.has(authOf(written, name)) ? checkEncrypted(written, name, 'client_auth') : [],
    ),
    ...checkAuthorities(written, names),
    ...written.names(['tools']).flatMap((name) => checkBoundTokens(written, name)),
  ];
}

function authOf(written: Written, name: string): string {
  return written.text(['token_services', name, 'client_auth']) ?? '';
}

function checkNeeds(written: Written, name: string): readonly Finding[] {
  const method = authOf(written, name);
  return (needs.get(method) ?? [])
    .map((key) => ({ key, path: ['token_services', name, key] }))
    .filter(({ key, path }) => !written.has(path) && !(key === 'token_file' && written.has(['identity', 'kubernetes'])))
    .map(({ key, path }) => ({ path, message: `is missing: ${method} needs ${words[key]}` }));
}

/** The SVID says the client id, so another one could only be wrong. */
function checkSpiffeX509(written: Written, name: string): readonly Finding[] {
  const at = (key: string) => ['token_services', name, key];
  if (authOf(written, name) !== 'spiffe_x509') return [];
  if (isWithoutIdentity(written)) {
    return [{ path: at('client_auth'), message: `spiffe_x509 ${noIdentity}, or use private_key_jwt` }];
  }
  if (!written.has(at('client_id'))) return [];
  return [{ path: at('client_id'), message: 'is the SPIFFE ID of the sidecar with spiffe_x509; leave it out' }];
}

/** A certificate can be shown over TLS only; loopback is no exception. */
function checkEncrypted(written: Written, name: string, key: string): readonly Finding[] {
  const issuer = ['token_services', name, 'issuer'];
  const token = ['token_services', name, 'endpoints', 'token'];
  const asked = written.has(token) ? token : issuer;
  if (!/^http:/i.test(written.text(asked) ?? '')) return [];
  const what = key === 'client_auth' ? authOf(written, name) : 'a token with `proof: mtls`';
  return [
    { path: asked, message: `must be https: ${what} needs a client certificate, which plain http does not carry` },
  ];
}

/** What is trusted for an origin is trusted for all of its services, since they are one server. */
function checkAuthorities(written: Written, names: readonly string[]): readonly Finding[] {
  const seen = new Map<string, { readonly name: string; readonly ca: string | undefined }>();
  const findings: Finding[] = [];
  for (const name of names) {
    const path = ['token_services', name, 'tls', 'ca'];
    const ca = written.text(path);
    for (const origin of originsOf(written, name)) {
      const other = seen.get(origin) ?? { name, ca };
      seen.set(origin, other);
      if (other.ca === ca) continue;
      const at = ca === undefined ? ['token_services', other.name, 'tls', 'ca'] : path;
      const both = ca === undefined ? name : other.name;
      findings.push({ path: at, message: `must be the same for \`${both}\`, which has an endpoint at ${origin} too` });
      break;
    }
  }
  return findings;
}

/** The same of issuers whose tokens and events are read, beside the services at their origins. */
export function checkIssuerAuthorities(written: Written): readonly Finding[] {
  const services = written.names(['token_services']);
  const listed = [
    ['trust', 'issuers'],
    ['signals', 'transmitters'],
  ];
  return listed
    .flatMap((list) => Array.from({ length: written.count(list) }, (_, at) => [...list, at]))
    .flatMap((issuer) => {
      const path = [...issuer, 'tls', 'ca'];
      const ca = written.text(path);
      const urls = ['issuer', 'jwks_uri'].map((key) => URL.parse(written.text([...issuer, key]) ?? '')?.origin);
      const isThere = (name: string): boolean =>
        urls.some((url) => url !== undefined && originsOf(written, name).has(url));
      const other = services.find(
        (name) => isThere(name) && written.text(['token_services', name, 'tls', 'ca']) !== ca,
      );
      if (ca === undefined || other === undefined) return [];
      return [{ path, message: `must be the same as \`token_services.${other}.tls.ca\`: both are at one origin` }];
    });
}

function originsOf(written: Written, name: string): ReadonlySet<string> {
  const service = ['token_services', name];
  const places = written.names([...service, 'endpoints']).map((key) => [...service, 'endpoints', key]);
  const urls = [[...service, 'issuer'], ...places].map((path) => URL.parse(written.text(path) ?? ''));
  return new Set(urls.flatMap((url) => (url === null || url.protocol !== 'https:' ? [] : [url.origin])));
}

/** A token that is bound to our SVID (RFC 8705 3): the same certificate is shown to the service and to the tool. */
function checkBoundTokens(written: Written, name: string): readonly Finding[] {
  const at = (...keys: string[]) => ['tools', name, ...keys];
  if (written.text(at('token', 'proof')) !== 'mtls') return [];
  const proof = at('token', 'proof');
  if (isWithoutIdentity(written)) return [{ path: proof, message: `mtls ${noIdentity}, or use dpop` }];
  const findings: Finding[] = [];
  if (written.text(at('tls', 'client')) !== 'svid') {
    const message =
      'mtls needs `tls.client: svid`: the token is good only where the tool sees the certificate it is bound to';
    findings.push({ path: proof, message });
  }
  const known = written.names(['token_services']);
  const services = written.texts(at('token', 'from')).flatMap(([, from]) => (known.includes(from) ? [from] : []));
  return [...findings, ...services.flatMap((from) => checkBinder(written, from, proof))];
}

/** A service that is to bind tokens to our SVID. */
function checkBinder(written: Written, from: string, proof: SettingPath): readonly Finding[] {
  const findings: Finding[] = [];
  if (authOf(written, from) === 'tls_client_auth') {
    const message = `mtls binds to the SVID, but \`${from}\` sees the certificate of tls_client_auth; authenticate there with spiffe_x509 or without a certificate`;
    findings.push({ path: proof, message });
  }
  if (written.text(['token_services', from, 'verify']) === 'response-only') {
    findings.push({
      path: proof,
      message: `mtls needs a token that can be read: \`${from}\` has \`verify: response-only\``,
    });
  }
  return [...findings, ...checkEncrypted(written, from, 'proof')];
}
