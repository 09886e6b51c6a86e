/** An entry of `accept`. */
export const dpop = '{ issuer: "https://i", proof: dpop }';
const secret = 'client_auth: client_secret_basic, client_id: i, client_secret_file: /f';

/** A configuration with a way in and without fault; a row changes one thing. */
export const around = `version: 1
agent: { name: a }
identity: { workload_api: "unix:///s" }
trust: { domains: { example.org: workload_api }, issuers: [{ issuer: "https://i" }, { issuer: "https://j" }] }
token_services: { corp: { issuer: "https://i", ${secret} }, other: { issuer: "https://o", ${secret} } }
`;
/** The way in with entries of `accept` and, at its end, more keys. */
export const wayIn = (
  accept: string,
  more = '',
  { origin = '"https://a.org"', to = '"http://127.0.0.1:8080"', rest = '', before = around } = {},
) => `${before}inbound: { origin: ${origin}, accept: [${accept}], forward_to: ${to}${more} }\n${rest}`;

/** Without workload identity, and so without trust domain. */
export const withoutIdentity = around
  .replace('{ workload_api: "unix:///s" }', 'none')
  .replace('{ example.org: workload_api }', '{}');
export const withoutDomains = around.replace('{ example.org: workload_api }', '{}');
export const loopback = 'listen: { inbound: "127.0.0.1:15006" }';
/** One tool named t, with a token that is bound by a proof. */
export const withTool = (
  more: string,
  token = 'token: { from: corp, resource: "https://h", proof: dpop }',
  before = around,
) => `${before}tools: { t: { match: { host: h }${token === '' ? '' : `, ${token}`}${more} } }`;
