import { existsSync, readdirSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { describe, expect, test } from 'vitest';
import { refusalKinds } from '../../proxy/refusal-kinds.ts';
import { readSource, root } from './sources.ts';
import { readCode, readRows } from './tables.ts';

const decisions = readdirSync(join(root, 'decisions')).toSorted();
const pages = [
  'README.md',
  'ARCHITECTURE.md',
  'SECURITY.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  ...decisions.map((name) => `decisions/${name}`),
];
/** Pages without their blocks: those are examples. */
const proseOf = (page: string): string => readSource(page).replaceAll(/^```[\s\S]*?^```$/gm, '');

describe.each(pages)('%s', (page) => {
  test('names files and folders that are there', () => {
    const paths = readCode(proseOf(page)).filter((code) =>
      /^(proxy|config|test|loadtest|deploy|decisions)\//.test(code),
    );
    const named = paths.filter((path) => !/[…*]|NNNN/.test(path));
    expect(named.filter((path) => !existsSync(join(root, path)))).toEqual([]);
  });

  test('links to pages and headings that are there', () => {
    const links = [...proseOf(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => link);
    const broken = links.filter((link) => !link.startsWith('https://') && !leadsSomewhere(page, link));
    expect(broken).toEqual([]);
  });

  test('names settings that are there', () => {
    const settings = readSource('config/settings.md');
    const keys = readCode(proseOf(page)).filter((code) =>
      /^(tools|tasks|token_services|operator|listen|trust|record|ca|dns|inbound|replay)\.\w/.test(code),
    );
    const written = keys.map((key) => key.replace(/^(tools|token_services)\.X\./, '$1.NAME.'));
    expect(written.filter((key) => !settings.includes(`\`${key}\``))).toEqual([]);
  });

  test('names scripts of package.json', () => {
    const { scripts } = JSON.parse(readSource('package.json')) as { scripts: Record<string, string> };
    const named = [...readSource(page).matchAll(/\bnpm run ([\w:-]+)/g)].map(([, script = '']) => script);
    expect(named.filter((script) => scripts[script] === undefined)).toEqual([]);
  });
});

/** A relative link, with an anchor as GitHub makes it of headings. */
function leadsSomewhere(page: string, link: string): boolean {
  const [path = '', anchor] = link.split('#');
  const target = path === '' ? page : posix.join(dirname(page), path);
  if (!existsSync(join(root, target))) return false;
  if (anchor === undefined) return true;
  const headings = [...readSource(target).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => heading);
  return headings.some(
    (heading) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\w\- ]/g, '')
        .replaceAll(' ', '-') === anchor,
  );
}

describe('decisions', () => {
  test('are numbered without a gap and named by their title', () => {
    expect(decisions.map((name) => name.slice(0, 4))).toEqual(
      decisions.map((_, at) => String(at + 1).padStart(4, '0')),
    );
    expect(decisions.filter((name) => !/^\d{4}(-[a-z0-9]+)+\.md$/.test(name))).toEqual([]);
    for (const name of decisions)
      expect(readSource(`decisions/${name}`)).toMatch(new RegExp(`^# ${name.slice(0, 4)} \\S`));
  });

  test.each(decisions)('%s has context, decision, consequences and measure, on one page', (name) => {
    const text = readSource(`decisions/${name}`);
    const headings = [...text.matchAll(/^## (.*)$/gm)].map(([, heading]) => heading);
    expect(headings).toEqual(['Context', 'Decision', 'Consequences', 'Measure']);
    expect(text.split('\n').length).toBeLessThanOrEqual(70);
  });

  test('0003 gives a reason for every package, and for no other', () => {
    const manifest = JSON.parse(readSource('package.json')) as Record<string, Record<string, string>>;
    const kinds = ['dependencies', 'optionalDependencies', 'devDependencies'];
    const wanted = kinds.flatMap((kind) => Object.keys(manifest[kind] ?? {}));
    const named = readRows('decisions/0003-dependencies.md', 'Decision').flatMap(([packages = '']) =>
      readCode(packages),
    );
    expect(named.toSorted()).toEqual(wanted.toSorted());
  });

  test('0003 knows every package with an install script', () => {
    const lock = JSON.parse(readSource('package-lock.json')) as {
      packages: Record<string, { hasInstallScript?: boolean }>;
    };
    const scripted = Object.entries(lock.packages).filter(([, { hasInstallScript }]) => hasInstallScript === true);
    expect(scripted.map(([path]) => path)).toEqual(['node_modules/esbuild', 'node_modules/protobufjs']);
  });

  test.each([
    'decisions/0006-refusals-and-settings-beyond-the-first-list.md',
    'decisions/0014-refusals-and-settings-of-the-way-in.md',
  ])('%s lists codes of the catalogue, with their status', (name) => {
    const rows = readRows(name, 'Decision');
    const codes = rows.filter(([, status = '']) => /^\d+$/.test(status));
    expect(codes.length).toBeGreaterThan(0);
    const kinds: Record<string, { status: number }> = refusalKinds;
    for (const [code = '', status] of codes) expect(String(kinds[readCode(code)[0] ?? '']?.status), code).toBe(status);
  });
});
