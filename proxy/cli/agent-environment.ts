import { join } from 'node:path';

/** Where an agent finds its sidecar. */
export interface AgentPlaces {
  /** Proxy URL, with the handle of the task as its password where there is a task. */
  readonly proxy: string | undefined;
  /** The folder that `ca.publish` names; undefined where its certificates are not needed or not there. */
  readonly trustFolder: string | undefined;
}

/**
 * The environment that leads an unmodified agent through the sidecar: proxy and trust for each kind of runtime. Variables that replace
 * a program's trust store get the bundle of the system's roots and ours; variables that add to it get ours alone.
 */
export function agentEnvironment({ proxy, trustFolder }: AgentPlaces): Readonly<Record<string, string>> {
  return {
    ...(proxy === undefined ? {} : proxyVariables(proxy)),
    ...(trustFolder === undefined ? {} : trustVariables(trustFolder)),
  };
}

function proxyVariables(proxy: string): Record<string, string> {
  return {
    HTTP_PROXY: proxy,
    HTTPS_PROXY: proxy,
    // curl reads the first of these two in lower case only, because of CGI's HTTP_PROXY (httpoxy).
    http_proxy: proxy,
    https_proxy: proxy,
    // Empty and not absent: an inherited list would lead calls past the sidecar, and with them past every rule.
    NO_PROXY: '',
    no_proxy: '',
    // Node.js from 24 on: fetch and http read the variables above only with it.
    NODE_USE_ENV_PROXY: '1',
  };
}

function trustVariables(folder: string): Record<string, string> {
  const own = join(folder, 'ca.pem');
  const bundle = join(folder, 'bundle.pem');
  return {
    NODE_EXTRA_CA_CERTS: own,
    DENO_CERT: own,
    // OpenSSL's own name: Python, Ruby, curl built with OpenSSL, and many others.
    SSL_CERT_FILE: bundle,
    REQUESTS_CA_BUNDLE: bundle,
    CURL_CA_BUNDLE: bundle,
    GIT_SSL_CAINFO: bundle,
  };
}

/** One line that a POSIX shell takes: `export NAME='value' …`. */
export function exportLine(environment: Readonly<Record<string, string>>): string {
  return `export ${Object.entries(environment)
    .map(([name, value]) => `${name}=${shellQuoted(value)}`)
    .join(' ')}`;
}

function shellQuoted(value: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]*$/.test(value) ? value : `'${value.replaceAll("'", `'\\''`)}'`;
}
