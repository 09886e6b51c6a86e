import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from '../repo/sources.ts';
import { installPrograms } from '../stage/apt-programs.ts';
import { run } from './programs.ts';

/** Our Dockerfile as buildah built it, without a daemon and without an image registry. */
export interface BuiltImage {
  /** Folder with the files of the image. */
  readonly rootfs: string;
  readonly config: ImageConfig;
  remove(): Promise<void>;
}

/** Of the configuration of an OCI image. */
export interface ImageConfig {
  readonly User: string;
  readonly Env: readonly string[];
  readonly Entrypoint: readonly string[];
  readonly Cmd: readonly string[];
  readonly WorkingDir: string;
  readonly StopSignal: string;
}

const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'waybill-real', 'image');
const baseName = 'docker.io/library/node:26-slim';
const npmVersion = '11.21.2';
/** In the stand-in only: how this machine reaches its package registry. */
export const lent = ['/usr/local/etc/npmrc', '/usr/local/etc/certificates.pem'];

/**
 * Builds the image. `FROM node:26-slim` is a stand-in, since there is no registry here: Debian bookworm with what Node.js needs, and the
 * pinned Node 26 and npm; kept between runs. Returns the reason where a part cannot be had.
 */
export async function buildImage(): Promise<BuiltImage | string> {
  const missing = installPrograms({ buildah: 'buildah', runc: 'runc', mmdebstrap: 'mmdebstrap' });
  if (missing !== undefined) return missing;
  if (process.getuid?.() !== 0) return 'only root can build and start the image here';
  mkdirSync(cache, { recursive: true });
  const buildah = makeBuildah();
  if (!(await buildah('inspect', '--type', 'image', baseName)).ok) {
    const reason = await makeBase(buildah);
    if (reason !== undefined) return reason;
  }
  const own = `localhost/waybill-test:${process.pid}`;
  const built = await buildah(
    'bud',
    '--pull-never',
    '--format',
    'docker',
    '-t',
    own,
    '-f',
    join(root, 'Dockerfile'),
    root,
  );
  if (!built.ok) throw new Error(`buildah bud: ${built.text.slice(-3000)}`);
  const container = (await buildah('from', '--pull-never', own)).text.trim();
  const rootfs = (await buildah('mount', container)).text.trim();
  const described = JSON.parse((await buildah('inspect', '--type', 'image', own)).text) as {
    readonly OCIv1: { readonly config: ImageConfig };
  };
  const remove = async (): Promise<void> => {
    await buildah('rm', container);
    await buildah('rmi', own);
  };
  return { rootfs, config: described.OCIv1.config, remove };
}

type Buildah = (...args: readonly string[]) => Promise<{ readonly ok: boolean; readonly text: string }>;

/** buildah with a store of its own, as vfs and chroot: it works where overlayfs and namespaces do not. */
function makeBuildah(): Buildah {
  const store = join(cache, 'storage.conf');
  const policy = join(cache, 'policy.json');
  writeFileSync(store, `[storage]\ndriver = "vfs"\ngraphroot = "${cache}/graph"\nrunroot = "${cache}/run"\n`);
  writeFileSync(policy, '{ "default": [{ "type": "insecureAcceptAnything" }] }');
  const env = { ...process.env, STORAGE_DRIVER: 'vfs', BUILDAH_ISOLATION: 'chroot', CONTAINERS_STORAGE_CONF: store };
  return async (command, ...args) => {
    const signed = command === 'bud' || command === 'from' ? ['--signature-policy', policy] : [];
    const ended = await run('buildah', [command ?? '', ...signed, ...args], { env, timeoutMs: 900_000 });
    const stdout = ended.stdout.toString();
    return { ok: ended.status === 0, text: ended.status === 0 ? stdout : stdout + ended.stderr };
  };
}

async function makeBase(buildah: Buildah): Promise<string | undefined> {
  const packages = 'libatomic1,libstdc++6';
  console.log(`makes a stand-in for node:26-slim: mmdebstrap bookworm, node ${process.version}, npm ${npmVersion}`);
  const folder = mkdtempSync(join(tmpdir(), 'waybill-base-'));
  try {
    const system = join(folder, 'system');
    const debian = await run('mmdebstrap', ['--variant=essential', `--include=${packages}`, 'bookworm', system], {
      timeoutMs: 600_000,
    });
    if (debian.status !== 0) return `mmdebstrap: ${debian.stderr.slice(-200)}`;
    const prefix = join(system, 'usr', 'local');
    // `lib` of a global prefix is where npm installs a package with its own dependencies.
    const npm = await run(
      'npm',
      ['install', '--silent', '--prefix', join(prefix, 'lib'), '--no-save', `npm@${npmVersion}`],
      {
        timeoutMs: 180_000,
      },
    );
    if (npm.status !== 0) return `npm ${npmVersion} cannot be had: ${npm.stderr.slice(-200)}`;
    copyFileSync(process.execPath, join(prefix, 'bin', 'node'));
    symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', join(prefix, 'bin', 'npm'));
    await lendRegistry(system);
    writeFileSync(join(folder, 'Base'), 'FROM scratch\nCOPY system /\n');
    const built = await buildah('bud', '-t', baseName, '-f', join(folder, 'Base'), folder);
    return built.ok ? undefined : `buildah: ${built.text.slice(-200)}`;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** npm in the build uses the registry and the certificates of this machine. */
async function lendRegistry(system: string): Promise<void> {
  const [settings = '', certificates = ''] = lent;
  const { stdout } = await run('npm', ['config', 'get', 'registry']);
  const own = process.env['NODE_EXTRA_CA_CERTS'];
  mkdirSync(join(system, 'usr', 'local', 'etc'), { recursive: true });
  const lines = [`registry=${stdout.toString().trim()}`];
  if (own !== undefined && existsSync(own)) {
    copyFileSync(own, join(system, certificates));
    lines.push(`cafile=${certificates}`);
  }
  writeFileSync(join(system, settings), `${lines.join('\n')}\n`);
}
