import type { Settings } from '../../../config/settings.ts';
import { openOwnClient, presenting } from '../../exchange/client-auth/own-client.ts';
import type { EndpointCall } from '../../exchange/endpoint.ts';
import { Deadline } from '../../exchange/deadline.ts';
import { Discovery, type ServiceEndpoints } from '../../exchange/discovery.ts';
import type { ServiceSettings } from '../../exchange/service-settings.ts';
import { IssuerMetadata, type Metadata } from '../../trust/issuer-metadata.ts';
import { inStep, stepMs, type Findings } from './finding.ts';
import { checkKeys, compareClocks, compareLists, listenTo, tellMissing } from './issuer-documents.ts';
import type { Patient } from './patient.ts';
import { reach, trustIn } from './reach.ts';

type Service = Settings['token_services'] extends ReadonlyMap<string, infer Entry> ? Entry : never;

/** Names of grants as services list them (RFC 8693, RFC 6749 4.4, RFC 7523). */
const grantNames = {
  token_exchange: 'urn:ietf:params:oauth:grant-type:token-exchange',
  client_credentials: 'client_credentials',
  jwt_bearer: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
  // The second leg hands in what the first one stated.
  id_jag: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
  identity_chaining: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
} as const;

/** Ways of client authentication as services list them; those without an entry have no settled name. */
const methodNames: Partial<Record<ServiceSettings['client_auth'], readonly string[]>> = {
  client_secret_basic: ['client_secret_basic'],
  client_secret_post: ['client_secret_post'],
  private_key_jwt: ['private_key_jwt'],
  tls_client_auth: ['tls_client_auth', 'self_signed_tls_client_auth'],
};

/** Whether a token service is there, is who it is said to be, and could be asked. Asks for documents only: no token, no credential. */
export async function checkService(service: Service, patient: Patient, found: Findings): Promise<void> {
  const { name, issuer } = service;
  const isThere = await reachIssuer(issuer, `token_services.${name}.tls.ca`, service.tls.ca, patient, found);
  if (!isThere) return;
  const { call, heard } = listenTo(await callAs(service, patient), patient.world.now);
  const metadata = new IssuerMetadata(patient.world, call);
  let endpoints: ServiceEndpoints;
  try {
    endpoints = await inStep(new Discovery(service, metadata).find(new Deadline(patient.world, stepMs)));
  } catch {
    compareClocks(heard, found);
    const known = metadata.peek(issuer);
    if (known === undefined) tellMissing(heard, issuer, found);
    else
      found.fail(
        'its token endpoint is missing, or on another origin than its issuer',
        `Name it in token_services.${name}.endpoints.token if it is meant.`,
      );
    return;
  }
  compareClocks(heard, found);
  const known = metadata.peek(issuer);
  found.ok(known === undefined ? 'its endpoints are those of the configuration' : 'its metadata is there and names it');
  tellEndpoints(service, endpoints, found);
  if (known !== undefined) compareLists(known, wantedOf(service, patient.config.settings, known), found);
  if (service.verify === 'jwt' && endpoints.jwks !== undefined) await checkKeys(endpoints.jwks, call, found);
}

/** Whether who signs tokens that open tasks can be asked for its keys. */
export async function checkIssuer(
  { issuer, jwks_uri: named, tls }: Settings['trust']['issuers'][number],
  patient: Patient,
  found: Findings,
): Promise<void> {
  if (!(await reachIssuer(named ?? issuer, 'trust.issuers[].tls.ca', tls.ca, patient, found))) return;
  const { call, heard } = listenTo(patient.endpoints.call, patient.world.now);
  if (named !== undefined) {
    await checkKeys(new URL(named), call, found);
    return;
  }
  const metadata = await inStep(new IssuerMetadata(patient.world, call).read(issuer, stepMs)).catch(() => undefined);
  compareClocks(heard, found);
  if (metadata === undefined) {
    tellMissing(heard, issuer, found);
    return;
  }
  found.ok('its metadata is there and names it');
  const { jwks_uri: keys } = metadata;
  if (typeof keys === 'string' && URL.parse(keys)?.origin === new URL(issuer).origin)
    await checkKeys(new URL(keys), call, found);
  else found.fail('its keys are not on its own origin', 'Name them in trust.issuers[].jwks_uri if they are meant.');
}

async function reachIssuer(url: string, setting: string, ca: string | undefined, patient: Patient, found: Findings) {
  const { protocol, hostname, port } = new URL(url);
  const host = hostname.replace(/^\[(.*)\]$/, '$1');
  const isSecure = protocol === 'https:';
  const addresses = ['public', 'private', 'loopback'] as const;
  const destination = {
    host,
    port: port === '' ? (isSecure ? 443 : 80) : Number(port),
    addresses,
    dial: undefined,
  };
  const tls = isSecure ? trustIn(host, ca) : undefined;
  const isPinned = ca !== undefined;
  return reach({ destination, tls, authority: setting, isPinned, addresses: undefined }, patient, found);
}

/** A service that lets in nobody without a certificate shows its documents to nobody either. */
async function callAs(service: Service, { endpoints, world, identity }: Patient): Promise<EndpointCall> {
  const { client_auth: method } = service;
  if (method !== 'spiffe_x509' && method !== 'tls_client_auth') return endpoints.call;
  const { workload, certificates } = await identity;
  const nobody = { fetchJwtSvid: async () => Promise.reject(new Error('not asked for')) };
  const { present } = openOwnClient({
    settings: service,
    jwtSvids: workload ?? nobody,
    x509Svids: certificates,
    clusterTokens: workload ?? { readToken: async () => Promise.reject(new Error('not asked for')) },
    world,
  });
  return presenting(endpoints.call, present);
}

function tellEndpoints({ name, verify }: Service, endpoints: ServiceEndpoints, found: Findings): void {
  const at = `token_services.${name}.endpoints`;
  if (endpoints.revocation === undefined)
    found.warn(
      'it has no revocation endpoint on its own origin: tokens live on behind their task',
      `Name it in ${at}.revocation if it has one.`,
    );
  if (verify === 'jwt' && endpoints.jwks === undefined)
    found.fail(
      'its keys are missing, or on another origin than its issuer',
      `Name them in ${at}.jwks if they are meant.`,
    );
  if (verify === 'introspect' && endpoints.introspection === undefined)
    found.fail(
      'it has no introspection endpoint on its own origin',
      `Name it in ${at}.introspection, or change verify.`,
    );
}

/** What it has to do for us: the grants of the tools that name it, and our way of authentication. */
function wantedOf(service: Service, settings: Settings, metadata: Metadata) {
  const tools = [...settings.tools.values()].filter(({ token }) => token?.from.includes(service.name) === true);
  const grants = tools.map(({ token }) => grantNames[token?.grant ?? service.dialect.grant]);
  const states = [...settings.tools.values()].some(({ token }) => token?.granted_by === service.name);
  const asked = new Set<string>(states ? [...grants, grantNames.token_exchange] : grants);
  const methods = methodNames[service.client_auth];
  const wanted: (readonly [string, readonly string[], string])[] = [...asked].map((grant) => [
    'grant_types_supported',
    [grant],
    'tools.X.token.grant',
  ]);
  // Without a list it takes client_secret_basic alone (RFC 8414 2); many have no list and take more.
  if (methods !== undefined && metadata['token_endpoint_auth_methods_supported'] !== undefined)
    wanted.push(['token_endpoint_auth_methods_supported', methods, `token_services.${service.name}.client_auth`]);
  return wanted;
}
