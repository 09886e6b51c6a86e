import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { loadSettings } from '../../config/load.ts';
import { listUnsafe } from '../../config/unsafe.ts';
import { findWarnings } from '../../config/warnings.ts';
import { compileRulesOrErrors } from '../../proxy/check-rules.ts';
import { agentEnvironment } from '../../proxy/cli/agent-environment.ts';
import { allowTools } from '../../proxy/tasks/purposes.ts';

const deploy = join(import.meta.dirname, '../../deploy');
const textOf = (path: string): string => readFileSync(join(deploy, path), 'utf8');

/** What `waybill validate` says of a configuration that it takes. */
function judge(text: string): object {
  const loaded = loadSettings(text, 'waybill.yaml');
  const warnings = [...findWarnings(loaded.settings), ...compileRulesOrErrors(loaded, '').warnings];
  return { warnings, unsafe: listUnsafe(loaded.settings) };
}

interface Manifest {
  readonly kind: string;
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: { readonly template?: { readonly spec: PodSpec } };
}
interface Container extends Volumes {
  readonly env: readonly { readonly name: string; readonly value: string }[];
}
interface Volumes {
  readonly volumeMounts?: readonly { readonly name: string; readonly readOnly?: boolean }[];
}
interface Probe {
  readonly httpGet: { readonly path: string };
  readonly periodSeconds: number;
  readonly failureThreshold: number;
}
interface PodSpec {
  readonly volumes: readonly { readonly name: string }[];
  readonly containers: readonly Container[];
  readonly initContainers: readonly (Volumes & { readonly restartPolicy?: string; readonly startupProbe: Probe })[];
}
interface NetworkPolicySpec {
  readonly ingress: readonly { readonly ports: readonly { readonly port: number | string }[] }[];
}
interface Realm {
  readonly users: readonly { readonly username: string; readonly credentials: readonly { readonly value: string }[] }[];
  readonly clients: readonly { readonly clientId: string; readonly optionalClientScopes?: readonly string[] }[];
}
interface Compose {
  readonly services: Readonly<
    Record<
      string,
      {
        readonly volumes?: readonly string[];
        readonly user?: string;
        readonly environment?: object;
        readonly init?: boolean;
      }
    >
  >;
}

const manifests = parseAllDocuments(textOf('kubernetes/invoice-bot.yaml')).map(
  (document) => document.toJS() as Manifest,
);

test('the configuration of the Kubernetes example loads without a warning or an unsafe setting', () => {
  const text = manifests.find(({ kind }) => kind === 'ConfigMap')?.data?.['waybill.yaml'] ?? '';
  expect(judge(text)).toEqual({ warnings: [], unsafe: [] });
});

test.each([
  ['Kubernetes', manifests.find(({ kind }) => kind === 'ConfigMap')?.data?.['waybill.yaml'] ?? ''],
  ['compose', textOf('compose/waybill/waybill.yaml')],
])(
  'the agent of the %s example may open a task for every tool: it has no way in, and nobody else opens one',
  (_name, text) => {
    const { settings } = loadSettings(text, 'waybill.yaml');
    expect([settings.inbound, settings.tasks.standing, settings.purposes.size]).toEqual([undefined, 'off', 1]);
    const allowed = allowTools(settings, settings.agent.purpose, undefined);
    expect(allowed).toEqual({ kind: 'allowed', tools: new Set(settings.tools.keys()) });
  },
);

test('the configuration of the compose example loads without a warning or an unsafe setting', () => {
  expect(judge(textOf('compose/waybill/waybill.yaml'))).toEqual({ warnings: [], unsafe: [] });
});

test('W10: in both, the agent gets of the sidecar the published certificates and nothing else, and cannot write them', () => {
  const pod = manifests.find(({ kind }) => kind === 'Deployment')?.spec?.template?.spec;
  expect(pod?.initContainers.map(({ restartPolicy }) => restartPolicy)).toEqual(['Always']);
  expect(pod?.containers.flatMap(({ volumeMounts }) => volumeMounts)).toEqual([
    { name: 'waybill-trust', mountPath: '/run/waybill-trust', readOnly: true },
  ]);
  const { services } = parse(textOf('compose/compose.yaml')) as Compose;
  expect(services['agent']?.volumes).toEqual(['trust:/run/waybill-trust:ro']);
  expect(services['agent']?.user).not.toBe(services['waybill']?.user);
});

test('in both, the agent is led by all variables by which `waybill run -- CMD` leads one', () => {
  const wanted = agentEnvironment({ proxy: 'http://127.0.0.1:15001', trustFolder: '/run/waybill-trust' });
  const pod = manifests.find(({ kind }) => kind === 'Deployment')?.spec?.template?.spec;
  const env = pod?.containers[0]?.env.map(({ name, value }) => [name, value] as const) ?? [];
  expect(Object.fromEntries(env)).toEqual(wanted);
  const { services } = parse(textOf('compose/compose.yaml')) as Compose;
  expect(services['agent']?.environment).toEqual(wanted);
});

test('a pod that waits for its identity is told of as not ready before it is started anew, which would bring none', () => {
  const pod = manifests.find(({ kind }) => kind === 'Deployment')?.spec?.template?.spec;
  const { httpGet, periodSeconds = 0, failureThreshold = 0 } = pod?.initContainers[0]?.startupProbe ?? {};
  const rule = /alert: WaybillSidecarNotReady\n.*\n *for: (\d+)m\n/.exec(textOf('prometheus/waybill.rules.yaml'));
  expect(httpGet?.path).toBe('/readyz');
  expect(periodSeconds * failureThreshold).toBeGreaterThan(2 * 60 * Number(rule?.[1]));
});

test('every file that the compose example mounts is there', () => {
  const { services } = parse(textOf('compose/compose.yaml')) as Compose;
  const mounted = Object.values(services).flatMap(({ volumes = [] }) =>
    volumes.map((volume) => volume.split(':')[0] ?? ''),
  );
  const files = mounted.filter((path) => path.startsWith('.'));
  expect(files.length).toBeGreaterThan(0);
  expect(files.filter((path) => !existsSync(join(deploy, 'compose', path)))).toEqual([]);
});

test('a container mounts the folder of its configuration: a file that is mounted stays the old one when it is replaced by another', () => {
  const { services } = parse(textOf('compose/compose.yaml')) as Compose;
  const mounts = services['waybill']?.volumes?.filter((volume) => volume.includes(':/etc/waybill')) ?? [];
  expect(mounts).toEqual(['./waybill:/etc/waybill:ro']);
  expect(statSync(join(deploy, 'compose', 'waybill')).isDirectory()).toBe(true);
  const readme = readFileSync(join(deploy, '../README.md'), 'utf8');
  expect(readme.match(/-v \S+:\/etc\/waybill\S*/g)).toEqual(['-v "$PWD/waybill:/etc/waybill:ro"']);
});

test('the first process of a container is one that ends at SIGTERM before any script of ours runs', () => {
  const { services } = parse(textOf('compose/compose.yaml')) as Compose;
  expect(services['waybill']?.init).toBe(true);
  const readme = readFileSync(join(deploy, '../README.md'), 'utf8');
  const runs = readme.match(/^docker run .*$/gm) ?? [];
  expect(runs.map((line) => line.includes(' --init '))).toEqual([true]);
});

/** A folder that the images of SPIRE 1.15 have, of their own user. */
const spireFolder = '/run/spire/server/private';

test('the SPIRE server of the compose example can make its socket, and its commands and the bundle service find it', () => {
  const text = textOf('compose/compose.yaml');
  const { services } = parse(text) as Compose;
  expect(services['spire-server']?.volumes).toContain(`spire-server:${spireFolder}`);
  expect(services['spire-bundle']?.volumes).toContain(`spire-server:${spireFolder}:ro`);
  expect(textOf('compose/spire/server.conf')).toContain(`socket_path = "${spireFolder}/api.sock"`);
  expect(textOf('compose/spire/bundle.conf')).toContain(`unix://${spireFolder}/api.sock`);
  const commands = text.match(/spire-server (?:token generate|entry create)[^\n]*\n#[^\n]*/g) ?? [];
  expect(commands).toHaveLength(2);
  for (const command of commands) expect(command).toContain(`-socketPath ${spireFolder}/api.sock`);
});

test('the head of the compose example says all that must be set', () => {
  const text = textOf('compose/compose.yaml');
  const demanded = [...text.matchAll(/\$\{(?<name>\w+):\?/g)].map(({ groups }) => groups?.['name'] ?? '');
  expect(demanded).toEqual(['KEYCLOAK_ADMIN_PASSWORD']);
  const head = text.slice(0, text.indexOf('\nname:'));
  for (const name of demanded) expect(head).toContain(`export ${name}=`);
});

test('what the head of the compose example asks Keycloak for is in its realm, and is what the sidecar takes', () => {
  const text = textOf('compose/compose.yaml');
  const head = text.slice(0, text.indexOf('\nname:'));
  const asked = Object.fromEntries(
    [...head.matchAll(/ -d (?<key>\w+)=(?<value>[\w.-]+)/g)].map(({ groups = {} }) => [groups['key'], groups['value']]),
  );
  const realm = JSON.parse(textOf('compose/realm.json')) as Realm;
  const client = realm.clients.find(({ clientId }) => clientId === asked['client_id']);
  expect(client).toMatchObject({ secret: asked['client_secret'], directAccessGrantsEnabled: true });
  expect(client?.optionalClientScopes).toContain(asked['scope']);
  const [user] = realm.users;
  expect([user?.username, user?.credentials[0]?.value]).toEqual([asked['username'], asked['password']]);
  const { trust, tools } = loadSettings(textOf('compose/waybill/waybill.yaml'), 'waybill.yaml').settings;
  expect(head).toContain(`${trust.issuers[0]?.issuer}/protocol/openid-connect/token`);
  expect(tools.get('tickets')?.token?.scopes).toEqual([asked['scope']]);
});

test('the network policy of the Kubernetes example names its ports by number, those of the configuration', () => {
  const policy = manifests.find(({ kind }) => kind === 'NetworkPolicy') as { spec?: NetworkPolicySpec } | undefined;
  const text = manifests.find(({ kind }) => kind === 'ConfigMap')?.data?.['waybill.yaml'] ?? '';
  const { metrics, health } = loadSettings(text, 'waybill.yaml').settings.listen;
  const ports = policy?.spec?.ingress.flatMap((rule) => rule.ports.map(({ port }) => port));
  expect(ports).toEqual([metrics.port, health.port]);
});

test('no volume of the pod grows with its calls', () => {
  const text = manifests.find(({ kind }) => kind === 'ConfigMap')?.data?.['waybill.yaml'] ?? '';
  const { record } = loadSettings(text, 'waybill.yaml').settings;
  expect(record).toEqual({ stdout: true });
});
