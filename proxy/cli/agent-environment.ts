import { resolve } from 'node:path';

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

/**
 * Names that outrank those above in the programs that read them, each with the one of ours that says the same. Inherited, those of
 * a proxy lead calls past the sidecar, and those of trust make https calls to it fail. npm and npx hand on what a `.npmrc` says.
 */
const outranking = {
  ALL_PROXY: 'HTTP_PROXY',
  all_proxy: 'http_proxy',
  CARGO_HTTP_PROXY: 'HTTPS_PROXY',
  PIP_PROXY: 'HTTPS_PROXY',
  npm_config_https_proxy: 'HTTPS_PROXY',
  npm_config_noproxy: 'NO_PROXY',
  npm_config_proxy: 'HTTP_PROXY',
  AWS_CA_BUNDLE: 'SSL_CERT_FILE',
  CARGO_HTTP_CAINFO: 'SSL_CERT_FILE',
  CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE: 'SSL_CERT_FILE',
  GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: 'SSL_CERT_FILE',
  HTTPLIB2_CA_CERTS: 'SSL_CERT_FILE',
  NIX_SSL_CERT_FILE: 'SSL_CERT_FILE',
  PIP_CERT: 'SSL_CERT_FILE',
} as const;

/** `agentEnvironment` for an agent that inherits another environment: nothing that stands there outranks it. */
export function agentEnvironmentOver(
  inherited: Readonly<Record<string, string | undefined>>,
  places: AgentPlaces,
): Readonly<Record<string, string>> {
  const own = agentEnvironment(places);
  const turned = Object.entries(outranking).flatMap(([name, ours]) => {
    const value = own[ours];
    return value === undefined || !inherited[name] ? [] : [[name, value]];
  });
  return { ...own, ...Object.fromEntries(turned) };
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
  // The setting may be relative to our working directory, and an agent has its own.
  const own = resolve(folder, 'ca.pem');
  const bundle = resolve(folder, 'bundle.pem');
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
