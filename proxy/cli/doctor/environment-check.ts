import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Settings } from '../../../config/settings.ts';
import { agentEnvironment } from '../agent-environment.ts';
import { wordOf, type Findings } from './finding.ts';
import type { Patient } from './patient.ts';

const proxyNames = ['HTTP_PROXY', 'HTTPS_PROXY', 'http_proxy', 'https_proxy'] as const;
const bypassNames = ['NO_PROXY', 'no_proxy'] as const;

/** Whether the environment of this process leads an agent through the sidecar. Values are never shown: a proxy URL holds a handle. */
export async function checkEnvironment({ config, paths, surroundings }: Patient, found: Findings): Promise<void> {
  const { env } = surroundings;
  found.info(
    'Java reads neither HTTP_PROXY nor these CA files: give it -Dhttps.proxyHost and a trust store, or use mounts (/tools/NAME/)',
  );
  if (proxyNames.every((name) => isUnset(env[name]))) {
    found.info(
      'this is not the environment of an agent: no HTTP_PROXY. Run it where the agent runs to have that checked',
    );
    return;
  }
  checkProxies(env, config.settings, found);
  checkBypass(env, config.settings, found);
  checkTrust(env, paths.caPublish, found);
  if (env['NODE_USE_ENV_PROXY'] !== '1')
    found.warn(
      'NODE_USE_ENV_PROXY is not 1',
      'fetch and http of plain Node.js go past the sidecar: set it (Node.js 24 and newer).',
    );
}

type Environment = Patient['surroundings']['env'];

function isUnset(value: string | undefined): boolean {
  return value === undefined || value === '';
}

function checkProxies(env: Environment, { listen }: Settings, found: Findings): void {
  for (const name of proxyNames) {
    const value = env[name];
    if (isUnset(value)) {
      const who = name === 'http_proxy' ? 'curl reads only this one for http' : 'some clients read only this one';
      found.warn(`${name} is not set`, `Set it like the others: ${who}.`);
      continue;
    }
    const url = URL.parse(value ?? '');
    if (url === null || url.protocol !== 'http:') {
      found.fail(`${name} is no http URL`, 'Set it to http://127.0.0.1:15001, or to the proxy of a task.');
      continue;
    }
    const port = url.port === '' ? 80 : Number(url.port);
    if (listen.outbound.port !== 0 && port !== listen.outbound.port)
      found.fail(
        `${name} leads to port ${port}, and the way out listens on ${listen.outbound.port}`,
        'Calls go past the sidecar, or nowhere: set it to listen.outbound.',
      );
    else found.ok(`${name} leads to the way out${url.password === '' ? '' : ', with a task handle'}`);
  }
}

/** Hosts that go past every proxy, as most clients read the list: names and what ends with them, `*` for all. */
function checkBypass(env: Environment, { tools }: Settings, found: Findings): void {
  for (const name of bypassNames) {
    const entries = (env[name] ?? '').split(/[\s,]+/).filter((entry) => entry !== '');
    const passed = [...tools.values()].filter(({ match }) => entries.some((entry) => covers(entry, match.host)));
    for (const tool of passed)
      found.fail(
        `${name} lets calls to tool ${tool.name} (${tool.match.host}) go past the sidecar`,
        'Take it out of the list.',
      );
    if (entries.some((entry) => covers(entry, 'waybill.local')))
      found.warn(
        `${name} holds .local, as many images have it: http://waybill.local is not reached`,
        'Take it out, or call the agent’s own door at the address of the way out.',
      );
    else if (passed.length === 0) found.ok(`${name} lets no tool go past the sidecar`);
  }
}

function covers(entry: string, host: string): boolean {
  if (entry === '*') return true;
  const name = entry
    .toLowerCase()
    .replace(/:\d+$/, '')
    .replace(/^\*?\./, '');
  return host === name || host.endsWith(`.${name}`);
}

/** Each variable that names trust, against the file that the sidecar publishes: a copy is as good, an older one is not. */
function checkTrust(env: Environment, folder: string, found: Findings): void {
  const own = join(folder, 'ca.pem');
  const authority = readOr(own);
  if (authority.text === undefined) {
    found.info(
      `the CA of the sidecar is not at ${own} (${authority.why}): what trusts it cannot be judged before it runs`,
    );
    return;
  }
  const wanted = agentEnvironment({ proxy: undefined, trustFolder: folder });
  for (const [name, file] of Object.entries(wanted)) {
    const value = env[name];
    const advice = `Set it to ${file}: clients that read it refuse the sidecar’s certificates for https tools.`;
    if (value === undefined || value === '') found.warn(`${name} is not set`, advice);
    else {
      const named = readOr(value);
      if (named.text === undefined) found.fail(`${name} names a file that cannot be read (${named.why})`, advice);
      else if (named.text.includes(authority.text.trim())) found.ok(`${name} names a file with the CA of the sidecar`);
      else found.fail(`${name} names a file without the CA of the sidecar`, advice);
    }
  }
}

function readOr(file: string): { readonly text: string | undefined; readonly why: string } {
  try {
    return { text: readFileSync(file, 'utf8'), why: '' };
  } catch (error) {
    return { text: undefined, why: wordOf(error) };
  }
}
