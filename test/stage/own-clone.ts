import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { root } from '../repo/sources.ts';

/** How a command of the shell ended. */
export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  /** Without what npm itself says. */
  readonly stderr: string;
}

/** What of the repository a user of the program needs. */
const parts = ['proxy', 'config', 'package.json', 'package-lock.json', '.npmrc'];

/**
 * A clone as a person has it: their own copy of the program, installed, and room for their files. Commands run in a shell with an empty
 * home, and without root where somebody else can read the packages.
 */
export class OwnClone {
  readonly folder: string;
  readonly home: string;
  /** Undefined where the present user runs the commands. */
  readonly #uid: number | undefined;
  readonly #running = new Set<number>();
  readonly #folders: readonly string[];

  constructor() {
    const place = mkdtempSync(join(tmpdir(), 'waybill-clone-'));
    chmodSync(place, 0o755);
    this.folder = join(place, 'waybill');
    this.home = join(place, 'home');
    for (const folder of [this.folder, this.home, join(this.home, 'run')]) mkdirSync(folder, { mode: 0o700 });
    for (const name of parts) cpSync(join(root, name), join(this.folder, name), { recursive: true });
    symlinkSync(join(root, 'node_modules'), join(this.folder, 'node_modules'));
    this.#uid = process.getuid?.() === 0 && canUse(nobody, place) ? nobody : undefined;
    if (this.#uid !== undefined) spawnSync('chown', ['-R', '-h', `${nobody}:${nobody}`, this.folder, this.home]);
    const ofSystem = this.isRoot ? ['/var/lib/waybill', '/run/waybill'].filter((folder) => !existsSync(folder)) : [];
    this.#folders = [place, ...ofSystem];
  }

  /** Whether its commands run as root after all: then the folders of the system are used, and not those of the home. */
  get isRoot(): boolean {
    return process.getuid?.() === 0 && this.#uid === undefined;
  }

  /** What the sidecar leaves behind. */
  get record(): string {
    return join(this.home, 'state', 'waybill', 'events.jsonl');
  }

  write(name: string, content: string): void {
    writeFileSync(join(this.folder, name), content, { mode: 0o600 });
    if (this.#uid !== undefined) chownSync(join(this.folder, name), nobody, nobody);
  }

  /** Runs a script in a shell of its own, to its end. */
  async run(script: string): Promise<Ended> {
    const shell = this.#shell(script);
    const [stdout, stderr, code] = await Promise.all([
      textOf(shell.stdout),
      textOf(shell.stderr),
      new Promise<number | null>((done) => shell.once('exit', (status) => done(status))),
    ]);
    const ours = stderr.split('\n').filter((line) => !line.startsWith('npm '));
    return { code, stdout, stderr: ours.join('\n').trim() };
  }

  /** Starts a script in a terminal of its own; resolves when it has said `word`. */
  async start(script: string, word: string): Promise<Terminal> {
    const shell = this.#shell(script);
    let said = '';
    const ended = new Promise<number | null>((done) => shell.once('exit', (status) => done(status)));
    const heard = new Promise<void>((resolve, reject) => {
      for (const stream of [shell.stdout, shell.stderr]) {
        stream?.setEncoding('utf8').on('data', (chunk: string) => {
          said += chunk;
          if (said.includes(word)) resolve();
        });
      }
      void ended.then((code) => reject(new Error(`"${script}" ended with ${code}: ${said}`)));
    });
    const signal = (name: NodeJS.Signals): void => {
      // To all programs of the terminal, as a key does.
      if (shell.pid !== undefined && shell.exitCode === null && shell.signalCode === null)
        process.kill(-shell.pid, name);
    };
    const interrupt = async (): Promise<void> => {
      signal('SIGINT');
      const patience = setTimeout(() => signal('SIGKILL'), 10_000);
      await ended;
      clearTimeout(patience);
    };
    await heard;
    return { interrupt };
  }

  /** Ends what still runs and removes all that was made. */
  remove(): void {
    for (const pid of this.#running) process.kill(-pid, 'SIGKILL');
    for (const folder of this.#folders) rmSync(folder, { recursive: true, force: true });
  }

  #shell(script: string): ChildProcess {
    const path = (process.env['PATH'] ?? '').split(delimiter).filter((entry) => !entry.startsWith(root));
    const shell = spawn('sh', ['-c', script], {
      cwd: this.folder,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(this.#uid === undefined ? {} : { uid: this.#uid, gid: this.#uid }),
      env: {
        // Not the Node.js that runs the tests: a person has the one of the machine.
        PATH: path.join(delimiter),
        HOME: this.home,
        XDG_STATE_HOME: join(this.home, 'state'),
        XDG_RUNTIME_DIR: join(this.home, 'run'),
        npm_config_update_notifier: 'false',
      },
    });
    const { pid } = shell;
    if (pid !== undefined) {
      this.#running.add(pid);
      shell.once('exit', () => this.#running.delete(pid));
    }
    return shell;
  }
}

/** A program in the foreground. */
export interface Terminal {
  /** Ctrl-C; resolves when the program has ended. */
  interrupt(): Promise<void>;
}

const nobody = 65_534;

/** Whether a user can read the packages, which are linked, and reach the clone. */
function canUse(uid: number, place: string): boolean {
  const installed = join(root, 'node_modules', 'undici', 'package.json');
  return spawnSync('test', ['-r', installed, '-a', '-x', place], { uid, gid: uid }).status === 0;
}

async function textOf(stream: ChildProcess['stdout']): Promise<string> {
  let text = '';
  for await (const chunk of stream?.setEncoding('utf8') ?? []) text += String(chunk);
  return text;
}

/** Why commands as a person types them cannot be tried here, or undefined. Waits a moment for ports that are in use. */
export async function findObstacle(ports: readonly number[]): Promise<string | undefined> {
  for (const program of ['npx', 'curl', 'sed']) {
    const found = (process.env['PATH'] ?? '').split(delimiter).some((folder) => existsSync(join(folder, program)));
    if (!found) return `${program} is not installed`;
  }
  for (const port of ports) {
    for (let waits = 0; await isTaken(port); waits++) {
      if (waits === 40) return `another program listens on port ${port}`;
      await sleep(500);
    }
  }
  return undefined;
}

function isTaken(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(port, '127.0.0.1', () => {
      probe.destroy();
      resolve(true);
    }).once('error', () => resolve(false));
  });
}
