/**
 * Bundles the sidecar for the image: `node deploy/image/bundle.ts FOLDER` writes `main.js` with the chunks that it loads, a package.json
 * and the licenses of what is in it. A command, and gRPC, are chunks of their own: who does not use them does not load them.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { lean, required, withoutEmbedded } from './lean-plugins.ts';
import { describeLicenses, readManifest } from './licenses.ts';

const root = join(import.meta.dirname, '..', '..');
const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error('usage: node deploy/image/bundle.ts FOLDER');

const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: ['proxy/main.ts'],
  outdir: folder,
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node26',
  // Modules before CommonJS: what nobody imports of them can be left out.
  mainFields: ['module', 'main'],
  // Names too: they are 2 MB of an idle sidecar. Who has a stack trace builds the same commit with `sourcemap`, and looks it up there.
  minify: true,
  legalComments: 'none',
  // For packages in CommonJS that require a part of Node.js.
  banner: { js: "import{createRequire}from'node:module';const require=createRequire(import.meta.url);" },
  plugins: [withoutEmbedded, lean, required],
  metafile: true,
  logLevel: 'warning',
});

writeFileSync(join(folder, 'package.json'), `${JSON.stringify({ ...readManifest(root), type: 'module' })}\n`);
writeFileSync(join(folder, 'LICENSES.txt'), describeLicenses(root, Object.keys(metafile.inputs)));
