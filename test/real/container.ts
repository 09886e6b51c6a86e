import { spawn, type ChildProcess } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, type Ended } from './programs.ts';
import type { BuiltImage, ImageConfig } from './image-build.ts';

interface ContainerOptions {
  readonly command?: readonly string[];
  readonly shared?: string | undefined;
  readonly env?: readonly string[];
}

/** A container of the image under runc: root file system read-only, no capability, no new privileges, docker's seccomp filter. */
export class Container {
  /** Milliseconds from the start of runc to the log line `ready`; 0 before. */
  readyMs = 0;
  log = '';
  readonly #id = `waybill-${process.pid}-${Math.random().toString(36).slice(2)}`;
  readonly #folder: string;
  readonly #child: ChildProcess;
  readonly #started = performance.now();
  readonly #ended: Promise<number | null>;

  /** @param shared Folder of this machine that the container sees, read-only, at `/mnt`. @param env Beside that of the image, `NAME=value`. */
  constructor(
    image: BuiltImage,
    configFile: string,
    { command = image.config.Cmd, shared, env = [] }: ContainerOptions = {},
  ) {
    this.#folder = mkdtempSync(join(tmpdir(), 'waybill-container-'));
    const settings = join(this.#folder, 'etc');
    mkdirSync(settings, { mode: 0o755 });
    writeFileSync(join(settings, 'waybill.yaml'), configFile);
    chownSync(settings, 1337, 1337);
    const folders = { '/etc/waybill': settings, ...(shared === undefined ? {} : { '/mnt': shared }) };
    const spec = specOf(image, folders, [...image.config.Entrypoint, ...command], env);
    writeFileSync(join(this.#folder, 'config.json'), JSON.stringify(spec));
    this.#child = spawn('runc', ['--root', join(this.#folder, 'state'), 'run', '--bundle', this.#folder, this.#id], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (chunk: string) => {
        this.log += chunk;
        if (this.readyMs === 0 && this.log.includes('"msg":"ready"')) this.readyMs = performance.now() - this.#started;
      });
    }
    this.#ended = new Promise((done) => this.#child.once('close', (code) => done(code)));
  }

  async ready(): Promise<void> {
    const ended = this.#ended.then((code) => `it ended with ${code}`);
    while (this.readyMs === 0) {
      const why = await Promise.race([ended, new Promise<undefined>((done) => setTimeout(done, 20, undefined))]);
      if (why !== undefined) throw new Error(`${why}: ${this.log}`);
    }
  }

  /** Resolves with the exit code. */
  ended(): Promise<number | null> {
    return this.#ended;
  }

  /** Process id of the sidecar, as this machine counts. */
  async pid(): Promise<number> {
    const { stdout } = await run('runc', ['--root', join(this.#folder, 'state'), 'state', this.#id]);
    return (JSON.parse(stdout.toString()) as { pid: number }).pid;
  }

  exec(...command: readonly string[]): Promise<Ended> {
    return run('runc', ['--root', join(this.#folder, 'state'), 'exec', this.#id, ...command]);
  }

  async stop(): Promise<void> {
    const state = join(this.#folder, 'state');
    await run('runc', ['--root', state, 'kill', this.#id, 'TERM']);
    const patience = setTimeout(() => void run('runc', ['--root', state, 'kill', this.#id, 'KILL']), 20_000);
    await this.#ended;
    clearTimeout(patience);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

const memory = (destination: string) => ({
  destination,
  type: 'tmpfs',
  source: 'tmpfs',
  options: ['nosuid', 'nodev', 'noexec', 'mode=0700', 'uid=1337', 'gid=1337', 'size=16m'],
});

/** The runtime's configuration. The network is that of the machine: the tests call the sidecar on loopback. */
function specOf(
  { rootfs, config }: BuiltImage,
  folders: Record<string, string>,
  args: readonly string[],
  env: readonly string[],
): object {
  const [uid = 0, gid = 0] = config.User.split(':').map(Number);
  const none = { bounding: [], effective: [], inheritable: [], permitted: [], ambient: [] };
  return {
    ociVersion: '1.0.2',
    root: { path: rootfs, readonly: true },
    process: {
      terminal: false,
      user: { uid, gid },
      args,
      env: [...environmentOf(config), ...env],
      cwd: config.WorkingDir,
      capabilities: none,
      noNewPrivileges: true,
    },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755', 'size=64k'] },
      memory('/run/waybill'),
      memory('/var/lib/waybill'),
      ...Object.entries(folders).map(([destination, source]) => ({
        destination,
        type: 'bind',
        source,
        options: ['bind', 'ro'],
      })),
    ],
    linux: {
      namespaces: ['pid', 'ipc', 'uts', 'mount'].map((type) => ({ type })),
      maskedPaths: ['/proc/kcore', '/proc/keys', '/proc/timer_list'],
      readonlyPaths: ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'],
      ...seccomp(),
    },
  };
}

/** An image need not name a PATH; runtimes then take this one. */
function environmentOf({ Env }: ImageConfig): readonly string[] {
  const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
  return Env.some((entry) => entry.startsWith('PATH=')) ? Env : [path, ...Env];
}

const profileFile = '/usr/share/containers/seccomp.json';

interface Profile {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly syscalls: readonly {
    readonly names: readonly string[];
    readonly action: string;
    readonly args?: readonly object[];
    readonly errnoRet?: number;
    readonly includes?: { readonly caps?: readonly string[]; readonly arches?: readonly string[] };
    readonly excludes?: { readonly caps?: readonly string[]; readonly arches?: readonly string[] };
  }[];
}

/** The default filter of container engines, for a process without capabilities; nothing where the machine does not have it. */
function seccomp(): object {
  if (!existsSync(profileFile)) return {};
  const { defaultAction, defaultErrnoRet, syscalls } = JSON.parse(readFileSync(profileFile, 'utf8')) as Profile;
  const amd64 = (arches: readonly string[] | undefined): boolean => arches?.includes('amd64') ?? true;
  const ours = syscalls
    .filter(
      ({ includes, excludes }) =>
        (includes?.caps?.length ?? 0) === 0 &&
        amd64(includes?.arches) &&
        !(excludes?.arches?.includes('amd64') ?? false),
    )
    .map(({ names, action, args, errnoRet }) => ({
      names,
      action,
      ...(args === undefined ? {} : { args }),
      ...(errnoRet === undefined ? {} : { errnoRet }),
    }));
  return { seccomp: { defaultAction, defaultErrnoRet, architectures: ['SCMP_ARCH_X86_64'], syscalls: ours } };
}
