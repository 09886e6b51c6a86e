import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { loadSettings } from '../../config/load.ts';
import { listUnsafe } from '../../config/unsafe.ts';
import { findWarnings } from '../../config/warnings.ts';
import { compileRulesOrErrors } from '../../proxy/check-rules.ts';
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
interface Volumes {
  readonly volumeMounts?: readonly { readonly name: string; readonly readOnly?: boolean }[];
}
interface PodSpec {
  readonly volumes: readonly { readonly name: string }[];
  readonly containers: readonly Volumes[];
  readonly initContainers: readonly (Volumes & { readonly restartPolicy?: string })[];
}
interface Compose {
  readonly services: Readonly<Record<string, { readonly volumes?: readonly string[]; readonly user?: string }>>;
}

const manifests = parseAllDocuments(textOf('kubernetes/invoice-bot.yaml')).map(
  (document) => document.toJS() as Manifest,
);

test('the configuration of the Kubernetes example loads without a warning or an unsafe setting', () => {
  const text = manifests.find(({ kind }) => kind === 'ConfigMap')?.data?.['waybill.yaml'] ?? '';
  expect(judge(text)).toEqual({ warnings: [], unsafe: [] });
});

test('the agent of the Kubernetes example may open a task for every tool: it has no way in, and nobody else opens one', () => {
  const text = manifests.find(({ kind }) => kind === 'ConfigMap')?.data?.['waybill.yaml'] ?? '';
  const { settings } = loadSettings(text, 'waybill.yaml');
  expect([settings.inbound, settings.tasks.standing, settings.purposes.size]).toEqual([undefined, 'off', 1]);
  const allowed = allowTools(settings, settings.agent.purpose, undefined);
  expect(allowed).toEqual({ kind: 'allowed', tools: new Set(settings.tools.keys()) });
});

test('the configuration of the compose example loads without a warning or an unsafe setting', () => {
  expect(judge(textOf('compose/waybill.yaml'))).toEqual({ warnings: [], unsafe: [] });
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

test('every file that the compose example mounts is there', () => {
  const { services } = parse(textOf('compose/compose.yaml')) as Compose;
  const mounted = Object.values(services).flatMap(({ volumes = [] }) =>
    volumes.map((volume) => volume.split(':')[0] ?? ''),
  );
  const files = mounted.filter((path) => path.startsWith('.'));
  expect(files.length).toBeGreaterThan(0);
  expect(files.filter((path) => !existsSync(join(deploy, 'compose', path)))).toEqual([]);
});
