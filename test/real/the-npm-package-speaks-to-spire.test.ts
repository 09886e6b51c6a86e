import { cpSync, existsSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { readSource, root } from '../repo/sources.ts';
import { PackedPackage } from '../stage/packed-package.ts';
import { buildLimitMs } from '../stage/spire-programs.ts';
import { openSpire, type SpireDomain } from '../stage/spire.ts';
import { findFloorNode } from './programs.ts';
import { agentEntry, agentId, domainName, findSpire } from './spire-stage.ts';

let packed: PackedPackage;
let domain: SpireDomain;
/** Why something is not there. */
let obstacle: string | undefined;
/** The pinned Node.js, and that of the floor. */
let nodes: readonly string[] = [];
beforeAll(async () => {
  const programs = await findSpire();
  const floor = await findFloorNode();
  packed = new PackedPackage();
  obstacle = typeof programs === 'string' ? programs : packed.install();
  if (floor === undefined) obstacle ??= 'Node.js 24 cannot be had from npm';
  if (typeof programs === 'string' || floor === undefined || obstacle !== undefined) return;
  nodes = [process.execPath, floor];
  domain = await openSpire(programs, domainName);
  const selectors = nodes.map((node) => [`unix:uid:${process.getuid?.()}`, `unix:path:${realpathSync(node)}`]);
  for (const [at, selected] of selectors.entries())
    await domain.createEntry(agentEntry({ selectors: selected, hint: `node-${at}` }));
}, buildLimitMs + 300_000);
afterAll(async () => {
  packed?.remove();
  await domain?.close();
});
vi.setConfig({ testTimeout: 180_000 });

/** The lines of a page that use the package. */
function readExample(page: string): string {
  const found = /^```js\n([\s\S]*?)^```$/m.exec(readSource(page))?.[1];
  if (found === undefined) throw new Error(`${page} has no example`);
  return found;
}

test.for(['README.md', 'proxy/spiffe/README.md'])(
  'the lines of %s work in a project that installed the package, with real SPIRE, under Node.js 24 and 26',
  (page, context) => {
    if (obstacle !== undefined) context.skip(obstacle);
    writeFileSync(join(packed.project, 'example.mjs'), readExample(page));
    for (const node of nodes) {
      const { code, stdout, stderr } = packed.run(
        node,
        'env',
        `SPIFFE_ENDPOINT_SOCKET=${domain.workloadApi}`,
        'node',
        'example.mjs',
      );
      expect(code, stderr).toBe(0);
      expect(stdout).toContain(agentId);
      console.log(
        `${packed.run(node, 'node', '--version').stdout.trim()}, ${page}: ${stdout.trim().split('\n').join('; ')}`,
      );
    }
  },
);

test('its types are found by a TypeScript program in that project', (context) => {
  if (obstacle !== undefined) context.skip(obstacle);
  const modules = join(packed.project, 'node_modules');
  if (!existsSync(join(modules, '@types', 'node', 'http.d.ts')))
    cpSync(join(root, 'node_modules', '@types', 'node'), join(modules, '@types', 'node'), { recursive: true });
  writeFileSync(
    join(packed.project, 'program.mts'),
    `import { connectWorkloadApi, type WorkloadApi } from 'waybill/spiffe';
const api: WorkloadApi = await connectWorkloadApi({ timeoutMs: 1000 });
// @ts-expect-error: it takes one audience
await api.fetchJwtSvid();
const id: string | undefined = api.identity()?.toString();
console.log(id);
`,
  );
  const compiler = join(root, 'node_modules', '.bin', 'tsc');
  const flags = [
    '--noEmit',
    '--strict',
    '--module',
    'nodenext',
    '--target',
    'esnext',
    '--types',
    'node',
    'program.mts',
  ];
  const { code, stdout } = packed.run(process.execPath, compiler, ...flags);
  expect(stdout).toBe('');
  expect(code).toBe(0);
});
