import { join } from 'node:path';
import type { Plugin } from 'esbuild';

const here = (file: string): { path: string } => ({ path: join(import.meta.dirname, file) });

/** No part of proxy/embedded gets in: the demo is replaced, and anything else that asks for one fails the build. */
export const withoutEmbedded: Plugin = {
  name: 'without-embedded',
  setup(build) {
    build.onResolve({ filter: /^\.\/cli\/demo\.ts$/ }, () => here('demo-elsewhere.ts'));
    build.onResolve({ filter: /\/embedded\// }, ({ path, importer }) => ({
      errors: [{ text: `${importer} wants ${path}, which the image does not have` }],
    }));
  },
};

const unused: readonly { readonly filter: RegExp; readonly of: string }[] = [
  // Error messages in fifty languages; ours are our own.
  { filter: /\/locales\/index\.js$/, of: '/zod/' },
  // A second parser of HTTP, an experiment; and both for processors that cannot do what each of the last fifteen years can (SIMD).
  { filter: /\/milo\/(no-)?simd\.js$|\/llhttp\/llhttp-wasm\.js$/, of: '/undici/' },
  // HTTP/2, which no client of ours speaks but that of gRPC, with its own.
  { filter: /\/client-h2\.js$/, of: '/undici/' },
  // For gRPC's service that describes gRPC.
  { filter: /^@grpc\/proto-loader$/, of: '/@grpc/grpc-js/' },
  // Writing a log in another thread.
  { filter: /^thread-stream$/, of: '/pino/' },
];

/** Parts of packages that nothing here uses, and that their entry loads all the same. */
export const lean: Plugin = {
  name: 'lean',
  setup(build) {
    build.onResolve({ filter: /^undici$/ }, () => here('lean-undici.js'));
    build.onResolve({ filter: /^@grpc\/grpc-js$/ }, () => here('lean-grpc.js'));
    build.onResolve({ filter: /^prom-client$/ }, () => here('lean-prom-client.js'));
    for (const { filter, of } of unused)
      build.onResolve({ filter }, ({ path, importer }) =>
        importer.includes(of) ? { path, namespace: 'empty' } : undefined,
      );
    build.onLoad({ filter: /.*/, namespace: 'empty' }, () => ({ contents: '' }));
  },
};

/** Parts of Node.js that a start does not need. They are loaded when a name of theirs is first used. */
const lateParts = /^(node:)?(zlib|https|child_process|fs\/promises)$/;

/**
 * Parts of Node.js are required, not imported. For `import`, Node.js reads every export once, and the one of `node:http` named WebSocket
 * loads all of fetch: a fifth of the start-up time, and some megabytes, for nothing that is used here. So that esbuild does not do the
 * same, each name is read by itself, and only where somebody imports it.
 */
export const required: Plugin = {
  name: 'required',
  setup(build) {
    build.onResolve({ filter: lateParts }, ({ path, namespace }) =>
      namespace === 'late' ? { path, external: true } : { path: path.replace('node:', ''), namespace: 'late' },
    );
    build.onLoad({ filter: /.*/, namespace: 'late' }, ({ path }) => ({
      contents: [
        `const load = () => require(${JSON.stringify(`node:${path}`)});`,
        ...namesOf(path).map((name) => `Object.defineProperty(exports, '${name}', { get: () => load().${name} });`),
      ].join('\n'),
    }));
    build.onResolve({ filter: /^node:/ }, ({ path, kind }) =>
      kind === 'import-statement' ? { path, namespace: 'node' } : { path, external: true },
    );
    build.onLoad({ filter: /.*/, namespace: 'node' }, ({ path }) => ({
      contents: [
        `const part = require(${JSON.stringify(path)});`,
        'export default part;',
        ...namesOf(path).map((name) => `export const ${name} = /* @__PURE__ */ (() => part.${name})();`),
      ].join('\n'),
    }));
  },
};

function namesOf(part: string): readonly string[] {
  const named = Object.keys(process.getBuiltinModule(part) ?? {});
  return named.filter((name) => name !== 'default' && /^[A-Za-z_]\w*$/.test(name));
}
